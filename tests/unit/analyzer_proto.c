/* SPDX-License-Identifier: Apache-2.0
 *
 * The protocol buffer writer and the pprof encoder, read back by a small decoder of its own. */
#include "analyzer/export/pprof.h"
#include "analyzer/export/proto.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

/* One field at *p; wire type 2 gives [data, data + value). */
struct field {
    unsigned number, wire;
    uint64_t value;
    const unsigned char *data;
};

static uint64_t varint(const unsigned char **p, const unsigned char *end)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        assert_true(*p < end);
        unsigned char c = *(*p)++;
        v |= (uint64_t)(c & 0x7f) << shift;
        if (!(c & 0x80)) return v;
    }
    fail_msg("a varint of more than ten bytes");
    return 0;
}

static bool next_field(const unsigned char **p, const unsigned char *end, struct field *f)
{
    if (*p == end) return false;
    uint64_t key = varint(p, end);
    f->number = (unsigned)(key >> 3);
    f->wire = (unsigned)(key & 7);
    f->value = varint(p, end);
    assert_true(f->wire == 0 || f->wire == 2);
    if (f->wire == 2) {
        assert_true(f->value <= (size_t)(end - *p));
        f->data = *p;
        *p += f->value;
    }
    return true;
}

static void numbers(void **state)
{
    (void)state;
    static const uint64_t values[] = {1, 127, 128, 300, 1ull << 32, UINT64_MAX};
    struct buf b = {0};
    struct field f;
    for (unsigned i = 0; i < 6; i++) proto_uint(&b, i + 1, values[i]);
    proto_uint(&b, 9, 0); /* left out */
    proto_int(&b, 20, -5);
    const unsigned char *p = (unsigned char *)b.data, *end = p + b.len;
    for (unsigned i = 0; i < 6; i++) {
        assert_true(next_field(&p, end, &f));
        assert_int_equal(f.number, i + 1);
        assert_true(f.value == values[i]);
    }
    assert_true(next_field(&p, end, &f));
    assert_int_equal(f.number, 20);
    assert_int_equal((int64_t)f.value, -5);
    assert_false(next_field(&p, end, &f));
    buf_free(&b);
}

static void packed_and_nested(void **state)
{
    (void)state;
    static const uint64_t values[] = {0, 1, 1000000};
    struct buf outer = {0}, inner = {0};
    struct field f;
    proto_packed(&inner, 2, values, 3);
    proto_packed(&inner, 3, values, 0); /* left out */
    proto_message(&outer, 7, &inner);
    assert_int_equal(inner.len, 0);
    const unsigned char *p = (unsigned char *)outer.data, *end = p + outer.len;
    assert_true(next_field(&p, end, &f));
    assert_int_equal(f.number, 7);
    const unsigned char *q = f.data, *qend = q + f.value;
    assert_true(next_field(&q, qend, &f));
    assert_int_equal(f.number, 2);
    const unsigned char *v = f.data;
    for (int i = 0; i < 3; i++) assert_true(varint(&v, qend) == values[i]);
    assert_false(next_field(&q, qend, &f));
    buf_free(&outer);
    buf_free(&inner);
}

/* A profile of rows made by hand in an empty recording: string table, samples, totals, defaults. */
static void profile(void **state)
{
    (void)state;
    char path[] = "/tmp/seep-proto-XXXXXX";
    struct err e = {0};
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(store_create(path, true, &e), 0);
    struct recording *r = recording_open(path, &e);
    assert_non_null(r);
    static const struct sym_line lines[] = {{.function = "inner", .file = "a.c", .line = 3},
                                            {.function = "outer", .file = "a.c", .line = 9}};
    struct frame frame = {.id = 1, .offset = 0x1000, .resolved = true, .nlines = 2, .lines = (struct sym_line *)lines};
    struct frame *frames[] = {&frame, &frame};
    struct stack stack = {.id = 1, .n = 2, .frames = frames};
    struct heap_row rows[2] = {{.stack = &stack, .size_bytes = 64}, {.stack = &stack, .size_bytes = 128}};
    rows[0].fig[FIG_INUSE] = (struct figure){.objects = 3, .bytes = 180};
    rows[1].fig[FIG_INUSE] = (struct figure){.objects = -2, .bytes = -200};
    struct heap heap = {.rows = rows, .n = 2};
    struct samples in = {0};
    samples_of_heap(r, &heap, NULL, 0, &in);
    assert_int_equal(in.n, 2);
    struct buf out = {0}, gz = {0};
    pprof_encode(&in, NULL, &out);
    samples_free(&in);
    const unsigned char *p = (unsigned char *)out.data, *end = p + out.len;
    struct field f;
    unsigned samples = 0, types = 0, locations = 0, functions = 0, strings = 0;
    int64_t inuse = 0;
    char first[8] = "?", last_type[32] = "";
    uint64_t default_type = 0;
    while (next_field(&p, end, &f)) {
        if (f.number == 1) types++;
        if (f.number == 4) locations++;
        if (f.number == 5) functions++;
        if (f.number == 14) default_type = f.value;
        if (f.number == 6 && strings++ == 0) snprintf(first, sizeof first, "%.*s", (int)f.value, f.data);
        if (f.number == 6 && f.value == 11 && memcmp(f.data, "inuse_space", 11) == 0 && strings - 1 == default_type)
            strcpy(last_type, "inuse_space");
        if (f.number != 2) continue;
        samples++;
        const unsigned char *q = f.data, *qend = q + f.value;
        struct field g;
        while (next_field(&q, qend, &g)) {
            if (g.number != 2) continue;
            const unsigned char *v = g.data;
            for (int i = 0; i < 6; i++) {
                int64_t value = (int64_t)varint(&v, g.data + g.value);
                if (i == 3) inuse += value;
            }
        }
    }
    assert_int_equal(types, 6);
    assert_int_equal(samples, 2);
    assert_int_equal(locations, 1);
    assert_int_equal(functions, 2);
    assert_int_equal(inuse, -20);
    assert_string_equal(first, "");
    assert_string_equal(last_type, "inuse_space");

    assert_int_equal(gzip_compress(&out, &gz), 0);
    unsigned char *back = xcalloc(1, out.len);
    z_stream z = {.next_in = (unsigned char *)gz.data,
                  .avail_in = (unsigned)gz.len,
                  .next_out = back,
                  .avail_out = (unsigned)out.len};
    assert_int_equal(inflateInit2(&z, 31), Z_OK);
    assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
    assert_int_equal(z.total_out, out.len);
    assert_memory_equal(back, out.data, out.len);
    inflateEnd(&z);
    free(back);
    buf_free(&out);
    buf_free(&gz);
    recording_close(r);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers),
        cmocka_unit_test(packed_and_nested),
        cmocka_unit_test(profile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
