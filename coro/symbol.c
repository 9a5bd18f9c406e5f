/* SPDX-License-Identifier: Apache-2.0
 *
 * report.h: symbol tables of ELF images, read with pread into a small buffer. Slow and simple, for a process that is about to end.
 * Takes no lock and allocates nothing. Every offset comes from a file and is bounded by what pread gives. */
#include "coro/report.h"

#include <elf.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { AT_ONCE = 64 };

static bool read_at(int fd, void *to, size_t n, uint64_t at)
{
    return pread(fd, to, n, (off_t)at) == (ssize_t)n;
}

/* The address that the first loadable segment was linked for. */
static bool link_base(int fd, const Elf64_Ehdr *eh, uint64_t *base)
{
    for (unsigned i = 0; i < eh->e_phnum; i++) {
        Elf64_Phdr ph;
        if (!read_at(fd, &ph, sizeof ph, eh->e_phoff + (uint64_t)i * sizeof ph)) return false;
        if (ph.p_type != PT_LOAD) continue;
        *base = ph.p_vaddr & ~(uint64_t)4095;
        return true;
    }
    return false;
}

static bool search(int fd, const Elf64_Ehdr *eh, const Elf64_Shdr *tab, uint64_t want, Elf64_Sym *out)
{
    (void)eh;
    Elf64_Sym syms[AT_ONCE];
    uint64_t count = tab->sh_size / sizeof *syms;
    for (uint64_t i = 0; i < count; i += AT_ONCE) {
        uint64_t n = count - i < AT_ONCE ? count - i : AT_ONCE;
        if (!read_at(fd, syms, n * sizeof *syms, tab->sh_offset + i * sizeof *syms)) return false;
        for (uint64_t k = 0; k < n; k++) {
            const Elf64_Sym *s = &syms[k];
            if (ELF64_ST_TYPE(s->st_info) != STT_FUNC || s->st_shndx == SHN_UNDEF) continue;
            if (want < s->st_value || want >= s->st_value + (s->st_size ? s->st_size : 1)) continue;
            *out = *s;
            return true;
        }
    }
    return false;
}

bool report_symbol(const char *path, uintptr_t base, uintptr_t at, char *name, size_t size, uintptr_t *start)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    Elf64_Ehdr eh;
    uint64_t linked = 0;
    bool found = false;
    if (read_at(fd, &eh, sizeof eh, 0) && memcmp(eh.e_ident, ELFMAG, SELFMAG) == 0 && link_base(fd, &eh, &linked)) {
        for (int pass = 0; pass < 2 && !found; pass++)
            for (unsigned i = 0; i < eh.e_shnum && !found; i++) {
                Elf64_Shdr tab, strings;
                Elf64_Sym sym;
                if (!read_at(fd, &tab, sizeof tab, eh.e_shoff + (uint64_t)i * sizeof tab)) break;
                if (tab.sh_type != (pass ? SHT_DYNSYM : SHT_SYMTAB)) continue;
                if (!search(fd, &eh, &tab, at - base + linked, &sym)) continue;
                if (!read_at(fd, &strings, sizeof strings, eh.e_shoff + (uint64_t)tab.sh_link * sizeof strings)) break;
                ssize_t n = pread(fd, name, size - 1, (off_t)(strings.sh_offset + sym.st_name));
                if (n <= 0) break;
                name[n] = '\0';
                *start = base + sym.st_value - linked;
                found = true;
            }
    }
    close(fd);
    return found;
}
