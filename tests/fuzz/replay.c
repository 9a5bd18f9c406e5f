/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs a fuzz target on files and folders of files, without libFuzzer: replay FILE|FOLDER… A crash or a report of a sanitizer is
 * the failure; the name that was printed last is the input. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/fuzz/fuzz.h"

static unsigned inputs;

static void run_file(const char *name)
{
    FILE *f = fopen(name, "rb");
    long n = -1;
    if (f && fseek(f, 0, SEEK_END) == 0) n = ftell(f);
    if (n < 0) {
        perror(name);
        exit(1);
    }
    /* Exactly as large as the input, so that a read past it is seen. */
    uint8_t *data = malloc((size_t)n + (n == 0));
    rewind(f);
    if (!data || fread(data, 1, (size_t)n, f) != (size_t)n) exit(1);
    fclose(f);
    printf("%s\n", name);
    fflush(stdout);
    LLVMFuzzerTestOneInput(data, (size_t)n);
    free(data);
    inputs++;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        struct stat st;
        struct dirent **list = NULL;
        if (stat(argv[i], &st) == 0 && !S_ISDIR(st.st_mode)) {
            run_file(argv[i]);
            continue;
        }
        int n = scandir(argv[i], &list, NULL, alphasort);
        for (int k = 0; k < n; k++) {
            char name[4096];
            snprintf(name, sizeof name, "%s/%s", argv[i], list[k]->d_name);
            if (list[k]->d_name[0] != '.') run_file(name);
            free(list[k]);
        }
        free(list);
    }
    printf("%u inputs\n", inputs);
    return inputs ? 0 : 1;
}
