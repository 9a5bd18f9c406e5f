/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading profiles of others: what is in them, and that nothing that was cut, changed or made up does harm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/export/proto.h"
#include "analyzer/import/profile.h"

#include <cmocka.h>

static void message_strings(struct buf *b, const char *const *strings, size_t n)
{
    for (size_t i = 0; i < n; i++) proto_bytes(b, 6, strings[i], strlen(strings[i]));
}

/* A heap profile of one sample: 3 blocks of 64 bytes allocated, 2 in use, at main.work < main.main. */
static void build(struct buf *out)
{
    static const char *const strings[] = {"",        "alloc_objects", "count",       "alloc_space",
                                          "bytes",   "inuse_objects", "inuse_space", "main.work",
                                          "work.go", "main.main",     "/opt/svc"};
    static const unsigned types[][2] = {{1, 2}, {3, 4}, {5, 2}, {6, 4}};
    struct buf m = {0}, inner = {0};
    for (size_t i = 0; i < 4; i++) {
        proto_uint(&m, 1, types[i][0]);
        proto_uint(&m, 2, types[i][1]);
        proto_message(out, 1, &m);
    }
    const uint64_t ids[] = {1, 2}, values[] = {3, 192, 2, 128};
    proto_packed(&m, 1, ids, 2);
    proto_packed(&m, 2, values, 4);
    proto_uint(&inner, 1, 4);
    proto_uint(&inner, 3, 64);
    proto_message(&m, 3, &inner);
    proto_message(out, 2, &m);
    proto_uint(&m, 1, 1);
    proto_uint(&m, 2, 0x400000);
    proto_uint(&m, 3, 0x500000);
    proto_uint(&m, 5, 10);
    proto_message(out, 3, &m);
    for (unsigned i = 1; i <= 2; i++) {
        proto_uint(&m, 1, i);
        proto_uint(&m, 2, 1);
        proto_uint(&m, 3, 0x401000 + i);
        proto_uint(&inner, 1, i);
        proto_uint(&inner, 2, 10 * i);
        proto_message(&m, 4, &inner);
        proto_message(out, 4, &m);
        proto_uint(&m, 1, i);
        proto_uint(&m, 2, i == 1 ? 7 : 9);
        proto_uint(&m, 4, 8);
        proto_message(out, 5, &m);
    }
    message_strings(out, strings, sizeof strings / sizeof *strings);
    proto_uint(out, 9, 1700000000000000000);
    buf_free(&m);
    buf_free(&inner);
}

static int decode(const void *data, size_t n, struct profile *p)
{
    struct err e = {0};
    /* A copy of its own, so that a sanitizer sees a read past the end. */
    unsigned char *copy = malloc(n ? n : 1);
    memcpy(copy, data, n);
    *p = (struct profile){.path = "p", .main_module = ""};
    int rc = profile_decode_pprof(p, copy, n, &e);
    assert_true(rc == 0 || (e.code == EXIT_INPUT && *e.text));
    free(copy);
    return rc;
}

static void reads_a_heap_profile(void **state)
{
    struct buf b = {0};
    struct profile p;
    (void)state;
    build(&b);
    assert_int_equal(decode(b.data, b.len, &p), 0);
    assert_int_equal(p.kind, PROF_HEAP);
    assert_int_equal(p.unix_ns, 1700000000000000000);
    assert_string_equal(p.main_module, "/opt/svc");
    assert_int_equal(p.nsamples, 1);
    const struct prof_sample *s = &p.samples[0];
    assert_int_equal(s->alloc_objects, 3);
    assert_int_equal(s->inuse_bytes, 128);
    assert_int_equal(s->size_bytes, 64);
    assert_int_equal(s->depth, 2);
    assert_string_equal(s->stack[0]->lines[0].function, "main.work");
    assert_int_equal(s->stack[1]->lines[0].line, 20);
    assert_int_equal(s->stack[0]->address, 0x1001);
    profile_free(&p);
    buf_free(&b);
}

static void survives_what_is_cut_or_changed(void **state)
{
    struct buf b = {0};
    struct profile p;
    size_t refused = 0;
    (void)state;
    build(&b);
    for (size_t n = 0; n < b.len; n++) {
        refused += decode(b.data, n, &p) != 0;
        profile_free(&p);
    }
    assert_true(refused > b.len / 2);
    for (size_t i = 0; i < b.len; i++) {
        static const unsigned char masks[] = {0x01, 0x80, 0x7f, 0xff, 0x08};
        for (size_t k = 0; k < sizeof masks; k++) {
            b.data[i] = (char)(b.data[i] ^ masks[k]);
            decode(b.data, b.len, &p);
            profile_free(&p);
            b.data[i] = (char)(b.data[i] ^ masks[k]);
        }
    }
    buf_free(&b);
}

static void refuses_numbers_out_of_range(void **state)
{
    static const char *const bad[] = {
        "\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",         /* a sample of 2^64-1 bytes */
        "\x48\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", /* a varint of twelve bytes */
        "\x0b\x0c",                                             /* groups, which nobody writes */
        "\x31\x01",                                             /* eight bytes of which one is there */
    };
    struct profile p;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_not_equal(decode(bad[i], strlen(bad[i]), &p), 0);
        profile_free(&p);
    }
}

static int goroutines(const char *text, struct profile *p)
{
    struct err e = {0};
    *p = (struct profile){.path = "p", .main_module = ""};
    return profile_decode_goroutines(p, arena_strndup(&p->arena, text, strlen(text)), strlen(text), &e);
}

static void reads_goroutines(void **state)
{
    struct profile p;
    (void)state;
    assert_int_equal(goroutines("goroutine 1 [running]:\n"
                                "main.main()\n\t/src/main.go:53 +0x1ea\n\n"
                                "goroutine 7 [semacquire, 12 minutes, locked to thread]:\n"
                                "sync.runtime_SemacquireMutex(0x0?, 0x0?, 0x0?)\n\t/go/src/runtime/sema.go:77 +0x25\n"
                                "sync.(*Mutex).Lock(...)\n\t/go/src/sync/mutex.go:90\n"
                                "main.(*T).run(0xc0, {0x1, 0x2})\n\t/src/a:b.go:7 +0x1\n"
                                "created by main.main in goroutine 1\n\t/src/main.go:43 +0x8d\n\n"
                                "goroutine 9 [chan receive (nil chan)]:\nmain.f()\n\t/src/main.go:1\n\n"
                                "goroutine 10 [GC worker (idle)]:\nruntime.gopark(0x1)\n",
                                &p),
                     0);
    assert_int_equal(p.nsamples, 4);
    assert_string_equal(p.samples[0].state, "running");
    const struct prof_sample *s = &p.samples[1];
    assert_string_equal(s->wait_reason, "mutex lock");
    assert_string_equal(s->state, "waiting");
    assert_true(s->blocked_ns == INT64_C(720) * 1000000000);
    assert_int_equal(s->depth, 3);
    assert_string_equal(s->stack[2]->lines[0].function, "main.(*T).run");
    assert_string_equal(s->stack[2]->lines[0].file, "/src/a:b.go");
    assert_string_equal(s->created->lines[0].function, "main.main");
    assert_int_equal(s->created->lines[0].line, 43);
    assert_string_equal(p.samples[2].wait_reason, "chan receive (nil chan)");
    assert_string_equal(p.samples[3].wait_reason, "GC worker (idle)");
    profile_free(&p);
}

static void survives_odd_text(void **state)
{
    static const char *const texts[] = {"goroutine ",
                                        "goroutine 5 [",
                                        "goroutine 99999999999999999999 [select]:\n",
                                        "goroutine 5 []:\n",
                                        "goroutine -1 [select]:\nf()\n",
                                        "goroutine 5 [select]:\n)\n\t\n\t:\n)))((\n\t: +\n",
                                        "goroutine 5 [select, 99999999999999999999 minutes]:\ncreated by \n",
                                        "goroutine 5 [select]:\ncreated by x\n\t"};
    struct profile p;
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        goroutines(texts[i], &p);
        for (size_t k = 0; k < p.nsamples; k++) assert_non_null(p.samples[k].state);
        profile_free(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_heap_profile),
        cmocka_unit_test(survives_what_is_cut_or_changed),
        cmocka_unit_test(refuses_numbers_out_of_range),
        cmocka_unit_test(reads_goroutines),
        cmocka_unit_test(survives_odd_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
