/* SPDX-License-Identifier: Apache-2.0
 *
 * The interface of LeakSanitizer (sanitizer/lsan_interface.h), so that a program written for it works under the agent: it
 * mostly refers to these functions weakly, or has them from the sanitizer's runtime, which comes first then.
 *
 *   __lsan_do_leak_check              at the first call: checks, tells, and ends the process with 23 when there are leaks
 *   __lsan_do_recoverable_leak_check  checks, tells, returns 1 for leaks
 * Both leave out findings whose frames match a line "leak:PATTERN" of the program's __lsan_default_suppressions(), and do
 * nothing where its __lsan_is_turned_off() says so. Patterns match a part of the function's or the module's name, with * for
 * anything, ^ and $ for begin and end. Names are those of the dynamic symbol table. */
#include <dlfcn.h>
#include <string.h>
#include <unistd.h>

#include "agent/entry/entry.h"
#include "agent/include/seep.h"
#include "agent/util/log.h"

enum { EXIT_CODE = 23 }; /* LeakSanitizer's own */

void __lsan_disable(void);
void __lsan_enable(void);
void __lsan_ignore_object(const void *p);
void __lsan_register_root_region(const void *p, size_t size);
void __lsan_unregister_root_region(const void *p, size_t size);
void __lsan_do_leak_check(void);
int __lsan_do_recoverable_leak_check(void);

SEEP_EXPORT void __lsan_disable(void)
{
    seep_no_leak_begin();
}

SEEP_EXPORT void __lsan_enable(void)
{
    seep_no_leak_end();
}

SEEP_EXPORT void __lsan_ignore_object(const void *p)
{
    (void)seep_ignore(p);
}

SEEP_EXPORT void __lsan_register_root_region(const void *p, size_t size)
{
    (void)seep_root(p, size);
}

SEEP_EXPORT void __lsan_unregister_root_region(const void *p, size_t size)
{
    (void)seep_unroot(p, size);
}

/* Does s match the pattern's n bytes from here on? Without ^ it may begin anywhere, without $ end anywhere. */
static bool match_here(const char *pattern, size_t n, const char *s)
{
    for (; n > 0; pattern++, n--, s++) {
        if (*pattern == '*') {
            for (;; s++) {
                if (match_here(pattern + 1, n - 1, s)) return true;
                if (!*s) return false;
            }
        }
        if (*pattern == '$' && n == 1) return *s == 0;
        if (*pattern != *s) return false;
    }
    return true;
}

static bool matches(const char *pattern, size_t n, const char *s)
{
    if (!s) return false;
    if (n > 0 && *pattern == '^') return match_here(pattern + 1, n - 1, s);
    for (; *s; s++)
        if (match_here(pattern, n, s)) return true;
    return false;
}

static bool line_matches(const char *pattern, size_t n, const struct seep_check_finding *f)
{
    for (unsigned i = 0; n > 0 && i < f->nframes; i++) {
        Dl_info info;
        if (!dladdr((const char *)f->frames[i] - 1, &info)) continue;
        if (matches(pattern, n, info.dli_sname) || matches(pattern, n, info.dli_fname)) return true;
    }
    return false;
}

static bool suppressed(const char *list, const struct seep_check_finding *f)
{
    for (const char *p = list; p && *p;) {
        size_t n = strcspn(p, "\n");
        if (strncmp(p, "leak:", 5) == 0 && n > 5 && line_matches(p + 5, n - 5, f)) return true;
        p += n + (p[n] == '\n');
    }
    return false;
}

typedef const char *text_fn(void);
typedef int flag_fn(void);

/* Of the program: they may be anywhere, so they are looked up. */
static int leaks_left(void)
{
    static struct seep_check_report r;
    flag_fn *off = __extension__(flag_fn *) dlsym(RTLD_DEFAULT, "__lsan_is_turned_off");
    text_fn *text = __extension__(text_fn *) dlsym(RTLD_DEFAULT, "__lsan_default_suppressions");
    (void)dlerror();
    if (off && off()) return 0;
    int rc = seep_check(&r);
    if (rc <= 0) return rc;
    const char *list = text ? text() : NULL;
    int left = rc - (int)r.n;
    for (unsigned i = 0; i < r.n; i++) {
        const struct seep_check_finding *f = &r.findings[i];
        if (suppressed(list, f)) continue;
        left++;
        log_line("leak: %s, %lu in %lu bytes", f->rule, (unsigned long)f->objects, (unsigned long)f->bytes);
        for (unsigned k = 0; k < f->nframes; k++) {
            Dl_info info;
            const char *at = (const char *)f->frames[k] - 1;
            bool known = dladdr(at, &info) && info.dli_sname;
            log_line("    #%u %p %s", k, f->frames[k], known ? info.dli_sname : "");
        }
    }
    return left;
}

SEEP_EXPORT int __lsan_do_recoverable_leak_check(void)
{
    return leaks_left() > 0;
}

SEEP_EXPORT void __lsan_do_leak_check(void)
{
    static uint32_t checked;
    if (__atomic_exchange_n(&checked, 1, __ATOMIC_ACQ_REL)) return;
    if (leaks_left() > 0) _exit(EXIT_CODE);
}
