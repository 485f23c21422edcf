// SPDX-License-Identifier: Apache-2.0
/* Runs a fuzz target over every file of the folders named: each build checks the corpus without a
 * fuzzer. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *folder, const char *name)
{
    static uint8_t data[1 << 20];
    char path[4096];
    FILE *f;
    size_t n;

    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    f = fopen(path, "rb");
    if (f == NULL) {
        perror(path);
        return 1;
    }
    n = fread(data, 1, sizeof(data), f);
    (void)fclose(f);
    (void)LLVMFuzzerTestOneInput(data, n);
    return 0;
}

int main(int argc, char **argv)
{
    int files = 0;

    for (int i = 1; i < argc; i++) {
        DIR *d = opendir(argv[i]);

        if (d == NULL) {
            perror(argv[i]);
            return 1;
        }
        for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
            if (e->d_name[0] != '.') {
                if (replay(argv[i], e->d_name) != 0) {
                    return 1;
                }
                files++;
            }
        }
        (void)closedir(d);
    }
    printf("%d corpus files\n", files);
    return files > 0 ? 0 : 1; /* an empty corpus checks nothing */
}
