/* SPDX-License-Identifier: Apache-2.0
 *
 * A profile from a file: regular files only, unpacked up to a limit, then by what its first bytes are. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "analyzer/import/profile.h"

enum { LIMIT_BYTES = 512 << 20 };

static int read_file(const char *path, struct buf *out, int64_t *unix_ns, struct err *e)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) return err_set(e, EXIT_INPUT, "%s: cannot be read: %s", path, strerror(errno));
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return err_set(e, EXIT_INPUT, "%s: not a regular file; a profile is one", path);
    }
    *unix_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    static char chunk[1 << 16];
    ssize_t n;
    while ((n = read(fd, chunk, sizeof chunk)) > 0 && out->len <= LIMIT_BYTES) buf_add(out, chunk, (size_t)n);
    if (n < 0) err_set(e, EXIT_INPUT, "%s: cannot be read: %s", path, strerror(errno));
    close(fd);
    if (out->len > LIMIT_BYTES) err_set(e, EXIT_INPUT, "%s: more than 512 MiB is no profile", path);
    if (out->len == 0) err_set(e, EXIT_INPUT, "%s: empty", path);
    return e->code;
}

static int unpack(const char *path, struct buf *data, struct err *e)
{
    z_stream z = {0};
    struct buf plain = {0};
    static unsigned char chunk[1 << 16];
    if (inflateInit2(&z, 15 + 16) != Z_OK) return err_set(e, EXIT_CANNOT, "out of memory");
    z.next_in = (unsigned char *)data->data;
    z.avail_in = (uInt)data->len;
    int rc;
    do {
        z.next_out = chunk;
        z.avail_out = sizeof chunk;
        rc = inflate(&z, Z_NO_FLUSH);
        buf_add(&plain, chunk, sizeof chunk - z.avail_out);
        if (rc == Z_STREAM_END && z.avail_in) rc = inflateReset(&z); /* files may be joined */
    } while (rc == Z_OK && plain.len <= LIMIT_BYTES && (z.avail_in || z.avail_out == 0));
    inflateEnd(&z);
    if (plain.len > LIMIT_BYTES)
        err_set(e, EXIT_INPUT, "%s: unpacks to more than 512 MiB", path);
    else if (rc != Z_STREAM_END)
        err_set(e, EXIT_INPUT, "%s: damaged or truncated gzip", path);
    buf_free(data);
    *data = plain;
    return e->code;
}

int profile_read(const char *path, struct profile *out, struct err *e)
{
    struct buf data = {0};
    *out = (struct profile){.path = path, .main_module = ""};
    read_file(path, &data, &out->unix_ns, e);
    if (!e->code && data.len > 2 && memcmp(data.data, "\x1f\x8b", 2) == 0) unpack(path, &data, e);
    if (!e->code) {
        bool text = strncmp(data.data, "goroutine ", 10) == 0 || strstr(data.data, "\ngoroutine ");
        if (!text && strncmp(data.data, "heap profile:", 13) == 0)
            err_set(e, EXIT_INPUT, "%s: a heap profile as text; take it without debug=1", path);
        else if (!text && strncmp(data.data, "goroutine profile:", 18) == 0)
            err_set(e, EXIT_INPUT, "%s: a goroutine profile of debug=1; take it with debug=2, or without debug", path);
        else if (text && strlen(data.data) == data.len) {
            /* Lines of the text live as long as the profile. */
            char *copy = arena_strndup(&out->arena, data.data, data.len);
            profile_decode_goroutines(out, copy, data.len, e);
        } else {
            profile_decode_pprof(out, (unsigned char *)data.data, data.len, e);
        }
    }
    buf_free(&data);
    return e->code;
}

void profile_free(struct profile *p)
{
    arena_free(&p->arena);
}
