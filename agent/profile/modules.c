/* SPDX-License-Identifier: Apache-2.0
 *
 * The modules that code addresses belong to: executable, shared objects, vdso; those of the past too.
 *
 *   constructor, dlclose, agent's thread before a snapshot ──▶ modules_refresh ──▶ list ──▶ child, analyzer
 *
 * A stack is stored as addresses and the generation in which it was taken. The generation rises only when a module
 * was unloaded: before that, an address that a module has covered can't mean anything else, whether we had
 * noticed the module by then or not. An entry lives in the generations [loaded, unloaded); the module of (pc, g) is
 * the entry over pc that lives in g, else the one noticed first after g.
 * This needs every module to be seen before it goes: entry/dl.c refreshes before the real dlclose. What remains: a
 * module that comes and goes inside libc without a call of the program's dlclose (iconv), and a stack taken between
 * the unmapping in one thread's dlclose and the refresh after it, in a module that another thread has loaded to
 * the very same addresses in that instant.
 *
 * Invariants
 *   1. Entries are append-only and never move; only `unloaded` changes, once, from 0.
 *   2. One entry for each executable segment.
 *   3. dlmopen'ed namespaces are not seen: dl_iterate_phdr lists the caller's namespace only.
 * Locks: the loader's own (inside dl_iterate_phdr), then module_lock (RANK_MODULES). Never called in a critical section,
 * so no agent lock is ever held while waiting for the loader. Readers take no lock.
 * Allocates metadata only. */
#include "agent/profile/internal.h"
#include "agent/profile/modules.h"
#include "agent/profile/unwind.h"
#include "agent/util/log.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

struct entry {
    struct prof_module m;
    const uint8_t *eh_frame_hdr;
    uintptr_t phdr; /* with path and text_lo the identity of a load */
    uint64_t sweep; /* last refresh that saw it; guarded by module_lock */
    bool renamed;   /* path is not what the loader calls it */
    uint32_t ndata; /* writable segments: of the first entry of a module, the others have none */
    struct {
        uintptr_t lo, hi;
    } data[3];
};

static struct lock module_lock = LOCK_INIT(RANK_MODULES);
static struct chunks entries;
static uint32_t count; /* atomic; stored under module_lock */
static uint32_t generation = 1;
static uint64_t sweeps;               /* guarded by module_lock */
static uint64_t seen_adds, seen_subs; /* of the last complete sweep; atomic */

static struct entry *entry_at(uint32_t i)
{
    return chunks_at(&entries, i, sizeof(struct entry));
}

static const char *keep_string(const char *s, size_t n)
{
    char *p = prof_meta(n + 1, 1);
    if (!p) return "";
    memcpy(p, s, n);
    return p;
}

/* The file's own path for one with "/../" in it, as $ORIGIN in a RUNPATH makes them. buf: of 4096 bytes. */
static const char *canonical(const char *path, char *buf)
{
    char link[32];
    if (!strstr(path, "/../") && !strstr(path, "/./")) return path;
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0) return path;
    fmt_string(link, sizeof link, "/proc/self/fd/%d", fd);
    long n = readlink(link, buf, 4095);
    close(fd);
    if (n <= 0 || buf[0] != '/') return path;
    buf[n] = 0;
    return buf;
}

static const char *module_path(const struct dl_phdr_info *info, uintptr_t first)
{
    char buf[4096];
    if (first == getauxval(AT_SYSINFO_EHDR)) return "[vdso]";
    if (!info->dlpi_name || !info->dlpi_name[0]) {
        long n = readlink("/proc/self/exe", buf, sizeof buf - 1);
        return n > 0 ? keep_string(buf, (size_t)n) : "[exe]";
    }
    if (info->dlpi_name[0] == '/') {
        const char *path = canonical(info->dlpi_name, buf);
        return keep_string(path, strlen(path));
    }
    /* Loaded by a relative name: absolute as of now, which is the best that can be known later too. */
    size_t len = strlen(info->dlpi_name);
    const char *name = info->dlpi_name;
    if (name[0] == '.' && name[1] == '/') {
        name += 2;
        len -= 2;
    }
    long n = readlink("/proc/self/cwd", buf, sizeof buf - 1);
    if (n <= 0 || (size_t)n + 1 + len >= sizeof buf) return keep_string(name, len);
    buf[n] = '/';
    memcpy(buf + n + 1, name, len);
    return keep_string(buf, (size_t)n + 1 + len);
}

/* NT_GNU_BUILD_ID of a PT_NOTE segment in memory, as hex. */
static const char *build_id(const struct dl_phdr_info *info)
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
        if (ph->p_type != PT_NOTE) continue;
        const char *p = (const char *)(info->dlpi_addr + ph->p_vaddr), *end = p + ph->p_filesz;
        size_t align = ph->p_align == 8 ? 8 : 4;
        while (p + sizeof(ElfW(Nhdr)) <= end) {
            ElfW(Nhdr) nh;
            memcpy(&nh, p, sizeof nh);
            const char *name = p + sizeof nh;
            const char *desc = name + ((nh.n_namesz + align - 1) & ~(align - 1));
            if (desc > end || (size_t)(end - desc) < nh.n_descsz) break;
            if (nh.n_type == NT_GNU_BUILD_ID && nh.n_namesz == 4 && memcmp(name, "GNU", 4) == 0 && nh.n_descsz <= 64) {
                char hex[129];
                for (uint32_t k = 0; k < nh.n_descsz; k++) {
                    hex[2 * k] = digits[(unsigned char)desc[k] >> 4];
                    hex[2 * k + 1] = digits[(unsigned char)desc[k] & 15];
                }
                return keep_string(hex, 2 * nh.n_descsz);
            }
            p = desc + ((nh.n_descsz + align - 1) & ~(align - 1));
        }
    }
    return "";
}

static bool is_own(const struct entry *e)
{
    uintptr_t here = (uintptr_t)&generation;
    for (uint32_t i = 0; i < e->ndata; i++)
        if (here >= e->data[i].lo && here < e->data[i].hi && unwind_own_hi) return true;
    return false;
}

/* Under module_lock. */
static void add_segment(const struct dl_phdr_info *info, const ElfW(Phdr) * ph, struct entry *proto)
{
    const uintptr_t page = os_page_size() - 1;
    struct entry *e = chunks_grow(&entries, count, sizeof *e);
    if (!e) return;
    uintptr_t lo = info->dlpi_addr + ph->p_vaddr;
    *e = *proto;
    e->m.text_lo = lo & ~page;
    e->m.text_hi = (lo + ph->p_memsz + page) & ~page;
    e->m.file_offset = ph->p_offset & ~(uint64_t)page;
    __atomic_store_n(&count, count + 1, __ATOMIC_RELEASE);
    proto->ndata = 0; /* the first entry has them */
}

static void add_module(const struct dl_phdr_info *info, uint64_t sweep)
{
    struct entry proto = {.phdr = (uintptr_t)info->dlpi_phdr, .sweep = sweep};
    uintptr_t first = UINTPTR_MAX;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
        uintptr_t at = info->dlpi_addr + ph->p_vaddr;
        if (ph->p_type == PT_LOAD && at < first) first = at;
        if (ph->p_type == PT_GNU_EH_FRAME) proto.eh_frame_hdr = (const uint8_t *)at;
        if (ph->p_type == PT_LOAD && (ph->p_flags & PF_W) && proto.ndata < 3) {
            proto.data[proto.ndata].lo = at;
            proto.data[proto.ndata].hi = at + ph->p_memsz;
            proto.ndata++;
        }
    }
    proto.m.path = module_path(info, first);
    proto.renamed = !info->dlpi_name || strcmp(info->dlpi_name, proto.m.path) != 0;
    proto.m.build_id = build_id(info);
    proto.m.bias = info->dlpi_addr;
    proto.m.loaded = generation;
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_LOAD && (info->dlpi_phdr[i].p_flags & PF_X))
            add_segment(info, &info->dlpi_phdr[i], &proto);
}

static bool same_name(const struct dl_phdr_info *info, const struct entry *e)
{
    return e->renamed || (info->dlpi_name && strcmp(info->dlpi_name, e->m.path) == 0);
}

struct refresh {
    uint64_t sweep; /* 0: not begun */
    uint64_t adds, subs;
    bool unchanged;
};

/* Called with the loader's lock held, which orders the sweeps of threads that refresh at once. */
static int see_module(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct refresh *r = arg;
    int stop = 0;
    lock_acquire(&module_lock);
    if (r->sweep == 0) {
        r->sweep = ++sweeps;
        if (size >= offsetof(struct dl_phdr_info, dlpi_subs) + sizeof info->dlpi_subs) {
            r->adds = info->dlpi_adds;
            r->subs = info->dlpi_subs;
            r->unchanged = count != 0 && r->adds == seen_adds && r->subs == seen_subs;
            stop = r->unchanged;
        }
    }
    if (!stop) {
        bool known = false;
        for (uint32_t i = 0; i < count; i++) {
            struct entry *e = entry_at(i);
            if (e->m.unloaded == 0 && e->m.bias == info->dlpi_addr && e->phdr == (uintptr_t)info->dlpi_phdr &&
                same_name(info, e)) {
                e->sweep = r->sweep;
                known = true;
            }
        }
        if (!known) add_module(info, r->sweep);
    }
    lock_release(&module_lock);
    return stop;
}

void modules_refresh(void)
{
    struct refresh r = {0};
    dl_iterate_phdr(see_module, &r);
    if (r.sweep == 0 || r.unchanged) return;
    bool gone = false;
    lock_acquire(&module_lock);
    for (uint32_t i = 0; i < count; i++) {
        struct entry *e = entry_at(i);
        if (e->m.unloaded == 0 && e->sweep < r.sweep) {
            __atomic_store_n(&e->m.unloaded, generation + 1, __ATOMIC_RELEASE);
            gone = true;
        }
    }
    if (gone) __atomic_store_n(&generation, generation + 1, __ATOMIC_RELEASE);
    if (r.sweep == sweeps) {
        seen_adds = r.adds;
        seen_subs = r.subs;
    }
    lock_release(&module_lock);
    if (gone) unwind_flush();
}

uint32_t modules_generation(void)
{
    return __atomic_load_n(&generation, __ATOMIC_ACQUIRE);
}

uint32_t modules_count(void)
{
    return __atomic_load_n(&count, __ATOMIC_ACQUIRE);
}

const struct prof_module *modules_get(uint32_t i)
{
    return i < modules_count() ? &entry_at(i)->m : NULL;
}

const struct prof_module *modules_find(uintptr_t pc, uint32_t gen)
{
    const struct prof_module *later = NULL;
    uint32_t n = modules_count();
    for (uint32_t i = 0; i < n; i++) {
        const struct prof_module *m = &entry_at(i)->m;
        if (pc < m->text_lo || pc >= m->text_hi) continue;
        uint32_t unloaded = __atomic_load_n(&m->unloaded, __ATOMIC_ACQUIRE);
        if (m->loaded <= gen && (unloaded == 0 || unloaded > gen)) return m;
        if (m->loaded > gen && (!later || m->loaded < later->loaded)) later = m;
    }
    return later;
}

const uint8_t *modules_eh_frame_hdr(uintptr_t pc)
{
    uint32_t n = modules_count();
    for (uint32_t i = 0; i < n; i++) {
        const struct entry *e = entry_at(i);
        if (pc >= e->m.text_lo && pc < e->m.text_hi && __atomic_load_n(&e->m.unloaded, __ATOMIC_ACQUIRE) == 0)
            return e->eh_frame_hdr;
    }
    return NULL;
}

int modules_data(int (*fn)(void *arg, uintptr_t lo, uintptr_t hi, const char *path), void *arg)
{
    uint32_t n = modules_count();
    for (uint32_t i = 0; i < n; i++) {
        const struct entry *e = entry_at(i);
        if (e->m.unloaded != 0 || is_own(e)) continue;
        for (uint32_t k = 0; k < e->ndata; k++) {
            int rc = fn(arg, e->data[k].lo, e->data[k].hi, e->m.path);
            if (rc) return rc;
        }
    }
    return 0;
}

void modules_fork(int phase)
{
    fork_lock(&module_lock, phase);
}
