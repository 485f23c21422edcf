// SPDX-License-Identifier: Apache-2.0
/* avocado doctor: what this machine offers, and what is missing for what. */
#include "tools/cli.h"
#include "tools/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The names of what a mode lacks, separated by ", ". */
static void list_missing(const struct doctor_sheet *s, enum doctor_mode mode, char *to, size_t max)
{
    size_t at = 0;

    to[0] = '\0';
    for (size_t i = 0; i < s->n; i++) {
        const struct doctor_check *c = &s->checks[i];

        if (c->state == DOCTOR_MISSING && (c->needed_by >> mode & 1) != 0 && at < max) {
            at += (size_t)snprintf(to + at, max - at, "%s%s", at == 0 ? "" : ", ", c->name);
        }
    }
}

static void print_text(const struct doctor_sheet *s)
{
    char missing[256];

    (void)printf("%s on %s%s, %u processor%s\n\n", s->kernel, s->cpu,
                 s->is_virtual ? " (a virtual machine)" : "", s->processors,
                 s->processors == 1 ? "" : "s");
    for (int i = 0; i < DOCTOR_MODES_N; i++) {
        enum doctor_mode mode = (enum doctor_mode)i;
        bool ready = doctor_is_ready(s, mode);

        list_missing(s, mode, missing, sizeof(missing));
        (void)printf("%-9s %-9s  %s%s\n", doctor_mode_name(mode), ready ? "ready" : "not ready",
                     ready
                         ? mode == DOCTOR_SOFTWARE ? "NOT PROTECTED: for development and tests" : ""
                         : "missing: ",
                     missing);
    }
    (void)putchar('\n');
    for (size_t i = 0; i < s->n; i++) {
        const struct doctor_check *c = &s->checks[i];

        (void)printf("%-8s %-14s %s\n", doctor_state_name(c->state), c->name, c->found);
        if (c->state != DOCTOR_FINE) {
            (void)printf("%-8s %-14s -> %s\n", "", "", c->remedy);
        }
    }
}

static json_t *modes_json(const struct doctor_sheet *s)
{
    json_t *modes = json_array();

    for (int m = 0; m < DOCTOR_MODES_N; m++) {
        json_t *missing = json_array();

        for (size_t i = 0; i < s->n; i++) {
            const struct doctor_check *c = &s->checks[i];

            if (c->state == DOCTOR_MISSING && (c->needed_by >> m & 1) != 0) {
                (void)json_array_append_new(missing, json_string(c->name));
            }
        }
        (void)json_array_append_new(
            modes, json_pack("{s:s,s:b,s:b,s:o}", "mode", doctor_mode_name((enum doctor_mode)m),
                             "ready", doctor_is_ready(s, (enum doctor_mode)m), "protected",
                             m != DOCTOR_SOFTWARE, "missing", missing));
    }
    return modes;
}

static void print_json(const struct doctor_sheet *s, bool good)
{
    json_t *object = json_object(), *checks = json_array();

    for (size_t i = 0; i < s->n; i++) {
        const struct doctor_check *c = &s->checks[i];
        json_t *row = json_pack("{s:s,s:s,s:s}", "name", c->name, "state",
                                doctor_state_name(c->state), "found", c->found);

        if (c->state != DOCTOR_FINE) {
            (void)json_object_set_new(row, "remedy", json_string(c->remedy));
        }
        (void)json_array_append_new(checks, row);
    }
    (void)json_object_set_new(object, "status", json_string(good ? "OK" : "UNAVAILABLE"));
    cli_json_bytes(object, "kernel", s->kernel, strlen(s->kernel));
    cli_json_bytes(object, "cpu", s->cpu, strlen(s->cpu));
    (void)json_object_set_new(object, "virtual", json_boolean(s->is_virtual));
    (void)json_object_set_new(object, "processors", json_integer(s->processors));
    (void)json_object_set_new(object, "modes", modes_json(s));
    (void)json_object_set_new(object, "checks", checks);
    cli_json_print(object);
}

int cmd_doctor(struct cli *c, int argc, char **argv)
{
    const char *wanted = NULL;
    const struct option_spec specs[] = {
        {"for", "MODE", "exit code 3 unless this mode is ready: software, sgx, snp, tdx",
         OPTION_TEXT, &wanted, 0, 0, NULL},
        {0},
    };
    enum doctor_mode mode = DOCTOR_SOFTWARE;
    struct doctor_sheet sheet;
    char missing[256];
    bool good;
    int rest, code, root;

    if (!cli_parse(c, &(struct cli_line){"doctor", specs, 0, 0}, argc, argv, &rest, &code)) {
        return code;
    }
    if (wanted != NULL && !doctor_mode_parse(wanted, &mode)) {
        return cli_fail(c, CLI_USAGE, "USAGE",
                        "--for: found '%s', permitted are software, sgx, snp and tdx", wanted);
    }
    root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0) {
        return cli_fail(c, CLI_UNAVAILABLE, "IO", "/ cannot be opened: %s", strerror(errno));
    }
    doctor_examine(root, &sheet);
    (void)close(root);
    good = doctor_is_ready(&sheet, mode);
    if (c->json) {
        print_json(&sheet, good);
        return good ? CLI_OK : CLI_UNAVAILABLE;
    }
    print_text(&sheet);
    if (!good) {
        list_missing(&sheet, mode, missing, sizeof(missing));
        return cli_fail(c, CLI_UNAVAILABLE, "UNAVAILABLE", "%s is not ready on this machine: %s",
                        doctor_mode_name(mode), missing);
    }
    return CLI_OK;
}
