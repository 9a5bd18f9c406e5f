/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing a result to a file: 0600, never through a link, never over an existing file without -f, complete or not at all. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "analyzer/cli/cli.h"

static int write_all(int fd, const struct buf *b)
{
    for (size_t done = 0; done < b->len;) {
        ssize_t n = write(fd, b->data + done, b->len - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return -1;
        done += (size_t)n;
    }
    return 0;
}

int file_save(const char *path, bool force, const struct buf *b, const char *no_terminal)
{
    struct err e = {0};
    if (strcmp(path, "-") == 0) {
        if (no_terminal && isatty(1)) return fail(EXIT_USAGE, "standard output is a terminal: %s", no_terminal);
        return write_all(1, b) == 0 ? 0 : fail(EXIT_CANNOT, "standard output: cannot be written: %s", strerror(errno));
    }
    if (store_check_new(path, force, &e)) return fail_err(&e);
    char *tmp = NULL;
    if (asprintf(&tmp, "%s.%d.new", path, (int)getpid()) < 0) return fail(EXIT_CANNOT, "out of memory");
    int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600), code = 0;
    bool ok = fd >= 0 && write_all(fd, b) == 0;
    if (fd >= 0) ok = close(fd) == 0 && ok;
    if (!ok || rename(tmp, path) != 0) {
        code = fail(EXIT_CANNOT, "%s: cannot be written: %s", path, strerror(errno));
        if (fd >= 0) unlink(tmp);
    }
    free(tmp);
    return code;
}
