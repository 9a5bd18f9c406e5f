/* SPDX-License-Identifier: Apache-2.0
 *
 * A program or library that claims to be the recorded one: its ELF headers, symbol tables, notes and DWARF. */
#include <elfutils/libdwelf.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "analyzer/symbol/symbol.h"
#include "tests/fuzz/fuzz.h"

/* The recording says the same build id. */
static void build_id(const char *path, char *hex)
{
    const void *id = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    elf_version(EV_CURRENT);
    Elf *elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
    ssize_t n = elf ? dwelf_elf_gnu_build_id(elf, &id) : 0;
    for (ssize_t i = 0; i < n && i < 20; i++) {
        unsigned char b = ((const unsigned char *)id)[i];
        *hex++ = "0123456789abcdef"[b >> 4];
        *hex++ = "0123456789abcdef"[b & 15];
    }
    *hex = 0;
    elf_end(elf);
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char id[41];
    struct sym_line lines[64];
    if (n > 1 << 20) return 0;
    build_id(fuzz_file(data, n), id);
    struct symbolizer *s = symbolizer_new();
    struct sym_image *im = symbolizer_image(s, fuzz_path(), id, INT64_MAX);
    size_t seen = 0;
    for (uint64_t a = 0; a < 0x3000; a += 5)
        for (unsigned k = symbol_lookup(im, a, lines, 64); k-- > 0;) {
            seen += lines[k].function ? strlen(lines[k].function) : 0;
            seen += lines[k].file ? strlen(lines[k].file) : 0;
            seen += lines[k].comp_dir ? strlen(lines[k].comp_dir) : 0;
        }
    symbol_lookup(im, UINT64_MAX, lines, 64);
    symbol_lookup(im, (uint64_t)INT64_MAX + 1, lines, 1);
    symbolizer_free(s);
    return seen == SIZE_MAX;
}
