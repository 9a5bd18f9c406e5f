/* SPDX-License-Identifier: Apache-2.0
 *
 * Writes a whole file in one step: a temporary name in the same folder (O_EXCL, never through a link), then a rename, so that a
 * reader sees the old text or the new one. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "analyzer/util/util.h"

int file_replace(const char *path, const struct buf *b, struct err *e)
{
    struct buf tmp = {0};
    struct stat st;
    if (lstat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return err_set(e, EXIT_CANNOT, "%s: not a regular file; name another", path);
    buf_printf(&tmp, "%s.%d.new", path, (int)getpid());
    int fd = open(tmp.data, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    bool ok = fd >= 0;
    for (size_t done = 0; ok && done < b->len;) {
        ssize_t n = write(fd, b->data + done, b->len - done);
        if (n < 0 && errno == EINTR) continue;
        ok = n > 0;
        if (ok) done += (size_t)n;
    }
    if (fd >= 0) ok = close(fd) == 0 && ok;
    if (!ok || rename(tmp.data, path) != 0) {
        err_set(e, EXIT_CANNOT, "%s: cannot be written: %s", path, strerror(errno));
        if (fd >= 0) unlink(tmp.data);
    }
    buf_free(&tmp);
    return e->code;
}

int file_read(const char *path, size_t max, struct buf *out, struct err *e)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &st) != 0) {
        err_set(e, EXIT_INPUT, "%s: cannot be read: %s", path, strerror(errno));
    } else if (!S_ISREG(st.st_mode)) {
        err_set(e, EXIT_INPUT, "%s: not a regular file", path);
    } else if ((size_t)st.st_size > max) {
        err_set(e, EXIT_INPUT, "%s: larger than %zu bytes", path, max);
    } else {
        char *chunk = xcalloc(1, 1 << 16);
        ssize_t n = 0;
        while ((n = read(fd, chunk, 1 << 16)) != 0 && out->len <= max) {
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) {
                err_set(e, EXIT_INPUT, "%s: cannot be read: %s", path, strerror(errno));
                break;
            }
            buf_add(out, chunk, (size_t)n);
        }
        free(chunk);
    }
    if (fd >= 0) close(fd);
    return e->code;
}
