/* SPDX-License-Identifier: Apache-2.0
 *
 * Can this command run under the agent? Preloading needs a dynamically linked program of the agent's own machine and
 * C library, with no privileges that make the loader drop LD_PRELOAD. Asked before anything is started or
 * created, so that a recording without data is never made. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "analyzer/cli/cli.h"

enum { MAX_INTERPRETERS = 5 };

struct elf_facts {
    bool elf;
    unsigned char class;
    uint16_t machine;
    bool interp, dynamic;
    char loader[256];
};

static bool is_program(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

/* As execvp looks. */
static char *find_in_path(const char *name)
{
    const char *path = getenv("PATH");
    if (!path) path = "/usr/local/bin:/usr/bin:/bin";
    for (const char *p = path;; p++) {
        size_t n = strcspn(p, ":");
        char *file = NULL;
        if (asprintf(&file, "%.*s%s%s", (int)n, p, n ? "/" : "", name) < 0) return NULL;
        if (is_program(file)) return file;
        free(file);
        p += n;
        if (!*p) return NULL;
    }
}

/* 32-bit files are told from their first bytes; their program headers are not read, since they are refused. */
static void read_elf(int fd, struct elf_facts *f)
{
    Elf64_Ehdr h;
    Elf64_Phdr p;
    *f = (struct elf_facts){0};
    if (pread(fd, &h, sizeof h, 0) < (ssize_t)sizeof(Elf32_Ehdr) || memcmp(h.e_ident, ELFMAG, SELFMAG) != 0) return;
    f->elf = true;
    f->class = h.e_ident[EI_CLASS];
    f->machine = h.e_machine;
    if (f->class != ELFCLASS64 || h.e_phentsize != sizeof p) return;
    for (unsigned i = 0; i < h.e_phnum; i++) {
        if (pread(fd, &p, sizeof p, (off_t)(h.e_phoff + i * sizeof p)) != (ssize_t)sizeof p) return;
        if (p.p_type == PT_DYNAMIC) f->dynamic = true;
        if (p.p_type != PT_INTERP) continue;
        f->interp = true;
        size_t n = p.p_filesz < sizeof f->loader - 1 ? (size_t)p.p_filesz : sizeof f->loader - 1;
        if (pread(fd, f->loader, n, (off_t)p.p_offset) != (ssize_t)n) f->loader[0] = 0;
    }
}

/* Does the loader run it in secure mode, which drops LD_PRELOAD? */
static const char *privileged(int fd)
{
    struct stat st;
    if (fstat(fd, &st) != 0) return NULL;
    if ((st.st_mode & S_ISUID) && st.st_uid != getuid()) return "setuid";
    if ((st.st_mode & S_ISGID) && (st.st_mode & S_IXGRP) && st.st_gid != getgid()) return "setgid";
    if (geteuid() != 0 && fgetxattr(fd, "security.capability", NULL, 0) > 0) return "privileged by file capabilities";
    return NULL;
}

static int check_elf(const char *name, const struct elf_facts *f, const char *agent, struct err *e)
{
    struct elf_facts ours;
    int fd = open(agent, O_RDONLY | O_CLOEXEC);
    read_elf(fd, &ours);
    if (fd >= 0) close(fd);
    if (!ours.elf)
        return err_set(e, EXIT_CANNOT, "%s: not a shared library; point --agent or SEEP_AGENT at libseep.so", agent);
    if (f->class != ours.class)
        return err_set(e, EXIT_CANNOT, "%s: a %s program, and the agent is %s; build seep for it", name,
                       f->class == ELFCLASS32 ? "32-bit" : "64-bit", ours.class == ELFCLASS32 ? "32-bit" : "64-bit");
    if (f->machine != ours.machine)
        return err_set(e, EXIT_CANNOT,
                       "%s: built for another machine (ELF machine %u, the agent's is %u); build seep for it", name,
                       f->machine, ours.machine);
    if (!f->interp || !f->dynamic)
        return err_set(e, EXIT_CANNOT,
                       "%s: not dynamically linked: preloading cannot work; link it without -static, or with -lseep",
                       name);
    if (strstr(f->loader, "ld-musl"))
        return err_set(e, EXIT_CANNOT, "%s: linked with musl, and the agent needs glibc; build it for glibc", name);
    return 0;
}

/* The interpreter of a "#!" line into out; false: it is no script. */
static bool read_interpreter(int fd, char out[PATH_MAX])
{
    char line[PATH_MAX];
    ssize_t n = pread(fd, line, sizeof line - 1, 0);
    if (n < 3 || line[0] != '#' || line[1] != '!') return false;
    line[n] = 0;
    char *p = line + 2 + strspn(line + 2, " \t");
    p[strcspn(p, " \t\r\n")] = 0;
    snprintf(out, PATH_MAX, "%s", p);
    return *p != 0;
}

int command_check(const char *name, const char *agent, char **path, struct err *e)
{
    char file[PATH_MAX], next[PATH_MAX];
    *path = strchr(name, '/') ? xstrdup(name) : find_in_path(name);
    if (!*path) return err_set(e, EXIT_CANNOT, "%s: no such command in PATH", name);
    snprintf(file, sizeof file, "%s", *path);
    for (int depth = 0; depth < MAX_INTERPRETERS && !e->code; depth++) {
        struct stat st;
        struct elf_facts facts;
        const char *of = depth ? " (its interpreter)" : "";
        if (stat(file, &st) != 0)
            return err_set(e, EXIT_CANNOT, "%s%s: cannot be run: %s", file, of,
                           errno == ENOENT ? "no such command" : strerror(errno));
        if (S_ISDIR(st.st_mode)) return err_set(e, EXIT_CANNOT, "%s%s: a directory, not a command", file, of);
        if (!is_program(file)) return err_set(e, EXIT_CANNOT, "%s%s: not executable; see chmod +x", file, of);
        int fd = open(file, O_RDONLY | O_CLOEXEC);
        if (fd < 0) return 0; /* runs but cannot be read: nothing to check */
        read_elf(fd, &facts);
        const char *why = privileged(fd);
        bool script = !facts.elf && read_interpreter(fd, next);
        close(fd);
        if (facts.elf && why)
            return err_set(e, EXIT_CANNOT,
                           "%s%s: %s, so the loader ignores preloaded libraries; run an unprivileged copy of it", file,
                           of, why);
        if (facts.elf) return check_elf(file, &facts, agent, e);
        if (!script) return 0; /* a script without #!: the shell runs it */
        snprintf(file, sizeof file, "%s", next);
    }
    return e->code;
}

char *agent_find(const char *given, struct err *e)
{
    static const char *const places[] = {"libseep.so", "../lib/libseep.so", "../lib/seep/libseep.so",
                                         "../lib64/libseep.so", "../lib/x86_64-linux-gnu/libseep.so"};
    char self[PATH_MAX], *file = NULL;
    if (!given || !*given) given = getenv("SEEP_AGENT");
    if (given && *given) {
        file = realpath(given, NULL);
        if (!file)
            err_set(e, EXIT_CANNOT, "%s: the agent is not there: %s; see --agent and SEEP_AGENT", given,
                    strerror(errno));
    } else {
        ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
        self[n > 0 ? n : 0] = 0;
        char *slash = strrchr(self, '/');
        if (slash) *slash = 0;
        for (size_t i = 0; i < sizeof places / sizeof *places && !file; i++) {
            char *try = NULL;
            if (asprintf(&try, "%s/%s", self, places[i]) < 0) break;
            file = realpath(try, NULL);
            free(try);
        }
        if (!file)
            err_set(e, EXIT_CANNOT, "libseep.so: not found beside seep or in ../lib; name it by --agent or SEEP_AGENT");
    }
    if (file && strpbrk(file, ": \t\n")) {
        err_set(e, EXIT_CANNOT, "%s: a path with blanks or colons cannot be preloaded; move the agent, or link to it",
                file);
        free(file);
        return NULL;
    }
    return file;
}
