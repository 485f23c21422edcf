// SPDX-License-Identifier: Apache-2.0
/* avocado measure FILE...: what a policy must name, so that nobody has to copy it from a running
 * machine that he has no reason to trust yet. */
#include "tools/cli.h"
#include "tools/sigstruct.h"
#include "tools/slurp.h"
#include "trusted/evidence/measure.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILES_MAX = 1000 };

struct measured {
    const char *path;
    bool is_enclave;
    uint8_t sha256[MEASUREMENT_LEN]; /* of a program */
    struct sigstruct enclave;
};

static const char *hex(const uint8_t *p, size_t n, char *to)
{
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(to + 2 * i, 3, "%02x", p[i]);
    }
    return to;
}

/* What the file is, by its first bytes; a SIGSTRUCT has exactly one size, but a broken one must not
 * be taken for a program. */
static enum err measure_open(int fd, struct measured *ret, struct explain *why)
{
    uint8_t start[SIGSTRUCT_LEN + 1];
    struct stat st = {0};
    ssize_t n;

    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        (void)snprintf(why->text, sizeof(why->text), "not a regular file");
        return ERR_IO;
    }
    n = pread(fd, start, sizeof(start), 0);
    if (n < 0) {
        (void)snprintf(why->text, sizeof(why->text), "%s", strerror(errno));
        return ERR_IO;
    }
    if (n == 0) {
        (void)snprintf(why->text, sizeof(why->text), "it is empty");
        return ERR_MALFORMED;
    }
    ret->is_enclave = sigstruct_is((struct bytes){start, (size_t)n});
    return ret->is_enclave ? sigstruct_read((struct bytes){start, (size_t)n}, &ret->enclave, why)
                           : measure_fd(fd, ret->sha256, why);
}

static enum err measure(const char *path, struct measured *ret, struct explain *why)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    enum err err;

    *ret = (struct measured){.path = path};
    if (fd < 0) {
        (void)snprintf(why->text, sizeof(why->text), "%s", strerror(errno));
        return ERR_IO;
    }
    err = measure_open(fd, ret, why);
    (void)close(fd);
    return err;
}

static const char *debug_text(enum sigstruct_debug debug)
{
    static const char *const texts[] = {"never", "either", "always"};

    return texts[debug];
}

static void print_enclave(const struct measured *m)
{
    const struct sigstruct *s = &m->enclave;
    char text[2 * 32 + 1];

    (void)printf("%s: SGX enclave, signed %08x\n", m->path, s->date);
    (void)printf("  mrenclave  %s\n", hex(s->mrenclave, 32, text));
    (void)printf("  in a policy of evidence    sgx: mrenclave: [%s]\n", text);
    (void)printf("  mrsigner   %s\n", hex(s->mrsigner, 32, text));
    (void)printf("  isvprodid  %u\n  isvsvn     %u\n", s->isvprodid, s->isvsvn);
    (void)printf("  debug      %s%s\n", debug_text(s->debug),
                 s->debug == SIGSTRUCT_DEBUG_ALWAYS   ? ": THE HOST CAN READ ITS MEMORY"
                 : s->debug == SIGSTRUCT_DEBUG_EITHER ? ": up to whoever starts it"
                                                      : "");
}

static void print_text(const struct measured *m)
{
    char text[2 * 32 + 1];

    if (m->is_enclave) {
        print_enclave(m);
        return;
    }
    (void)printf("%s: program\n", m->path);
    (void)printf("  sha256     %s\n", hex(m->sha256, sizeof(m->sha256), text));
    (void)printf("  in a policy of evidence    software: mrenclave: [%s]\n", text);
}

static json_t *to_json(const struct measured *m)
{
    json_t *row = json_object();
    char text[2 * 32 + 1];

    cli_json_bytes(row, "file", m->path, strlen(m->path));
    (void)json_object_set_new(row, "kind", json_string(m->is_enclave ? "sgx" : "program"));
    if (!m->is_enclave) {
        (void)json_object_set_new(row, "sha256", json_string(hex(m->sha256, 32, text)));
        return row;
    }
    (void)json_object_set_new(row, "mrenclave", json_string(hex(m->enclave.mrenclave, 32, text)));
    (void)json_object_set_new(row, "mrsigner", json_string(hex(m->enclave.mrsigner, 32, text)));
    (void)json_object_set_new(row, "isvextprodid",
                              json_string(hex(m->enclave.isvextprodid, 16, text)));
    (void)json_object_set_new(row, "isvfamilyid",
                              json_string(hex(m->enclave.isvfamilyid, 16, text)));
    (void)json_object_set_new(row, "isvprodid", json_integer(m->enclave.isvprodid));
    (void)json_object_set_new(row, "isvsvn", json_integer(m->enclave.isvsvn));
    (void)json_object_set_new(row, "debug", json_string(debug_text(m->enclave.debug)));
    return row;
}

int cmd_measure(struct cli *c, int argc, char **argv)
{
    json_t *files = NULL;
    struct explain why = {{0}};
    struct measured m;
    int rest, code;

    if (!cli_parse(c, &(struct cli_line){"measure", NULL, 1, FILES_MAX}, argc, argv, &rest,
                   &code)) {
        return code;
    }
    files = json_array();
    for (int i = rest; i < argc; i++) {
        enum err err = measure(argv[i], &m, &why);

        if (err != OK) {
            json_decref(files);
            return cli_fail(c, err == ERR_AUTH ? CLI_INTEGRITY : CLI_USAGE, err_name(err),
                            "%s cannot be measured: %s", argv[i], why.text);
        }
        if (c->json) {
            (void)json_array_append_new(files, to_json(&m));
        } else {
            print_text(&m);
        }
    }
    if (c->json) {
        cli_json_print(json_pack("{s:s,s:O}", "status", "OK", "files", files));
    }
    json_decref(files);
    return CLI_OK;
}
