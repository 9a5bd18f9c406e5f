/* SPDX-License-Identifier: Apache-2.0
 *
 * A client of the control socket: agent_client PID COMMAND… sends each as a line and prints the replies. Special ones:
 * "@garbage" sends bytes without an end, "@silent" connects 20 times and says nothing, "@long" a line that is too long. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int dial(const char *pid)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int n = snprintf(a.sun_path + 1, sizeof a.sun_path - 1, "seep/%s", pid);
    for (int i = 0; i < 200; i++) { /* the agent may not be up yet */
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (connect(fd, (struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n)) ==
            0)
            return fd;
        close(fd);
        usleep(10000);
    }
    return -1;
}

static void say(int fd, const char *text, size_t n)
{
    while (n > 0) {
        ssize_t k = send(fd, text, n, MSG_NOSIGNAL);
        if (k <= 0) return;
        text += k;
        n -= (size_t)k;
    }
}

int main(int argc, char **argv)
{
    static char big[20000];
    memset(big, 'x', sizeof big);
    for (int i = 2; i < argc; i++) {
        int fd = dial(argv[1]);
        if (fd < 0) {
            puts("no connection");
            return 1;
        }
        if (strcmp(argv[i], "@garbage") == 0) {
            say(fd, "\xff\x00\x01garbage", 10);
            continue; /* stays open, and unanswered */
        }
        if (strcmp(argv[i], "@silent") == 0) {
            for (int k = 0; k < 20; k++) (void)dial(argv[1]);
            continue;
        }
        if (strcmp(argv[i], "@long") == 0)
            say(fd, big, sizeof big);
        else {
            say(fd, argv[i], strlen(argv[i]));
            say(fd, "\n", 1);
        }
        char reply[8192];
        size_t have = 0;
        ssize_t k;
        while (have < sizeof reply - 1 && (k = recv(fd, reply + have, sizeof reply - 1 - have, 0)) > 0)
            have += (size_t)k;
        reply[have] = 0;
        printf("%s%s", reply, have && reply[have - 1] == '\n' ? "" : "(cut)\n");
        close(fd);
    }
    return 0;
}
