// SPDX-License-Identifier: Apache-2.0
#include "tools/cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char default_cluster[] = "avocado-data/client.yaml";

const struct cli_command *cli_command_named(const char *name)
{
    for (const struct cli_command *c = cli_commands; c->name != NULL; c++) {
        if (strcmp(c->name, name) == 0) {
            return c;
        }
    }
    return NULL;
}

int cli_common_options(struct cli *c, struct option_spec to[static CLI_COMMON_OPTIONS])
{
    const struct option_spec specs[CLI_COMMON_OPTIONS] = {
        {"cluster", "FILE", "client.yaml (else $AVOCADO_CLUSTER, else ./avocado-data/client.yaml)",
         OPTION_TEXT, &c->cluster, 0, 0, NULL},
        {"timeout", "TIME", "give up after so many seconds, or e.g. 500ms", OPTION_MS,
         &c->timeout_ms, 1, 600000, NULL},
        {"json", NULL, "print one JSON object", OPTION_FLAG, &c->json, 0, 0, NULL},
        {"help", NULL, "show this", OPTION_FLAG, &c->help, 0, 0, NULL},
    };

    memcpy(to, specs, sizeof(specs));
    return CLI_COMMON_OPTIONS;
}

static void print_help(const struct cli_command *c, const struct option_spec *specs)
{
    (void)printf("usage: avocado %s %s\n\n%s\n\n", c->name, c->synopsis, c->summary);
    options_print(specs);
}

bool cli_parse(struct cli *c, const struct cli_line *line, int argc, char **argv, int *ret_rest,
               int *ret_exit)
{
    const struct cli_command *command = cli_command_named(line->command);
    struct option_spec specs[OPTIONS_MAX + 1] = {0};
    struct option_error why;
    int n = 0, rest;

    for (const struct option_spec *s = line->specs; s != NULL && s->name != NULL; s++) {
        specs[n++] = *s;
    }
    (void)cli_common_options(c, specs + n);
    if (!options_parse(argc, argv, specs, false, &rest, &why)) {
        *ret_exit =
            cli_fail(c, CLI_USAGE, "USAGE", "%s; see avocado %s --help", why.text, line->command);
        return false;
    }
    if (c->help) {
        print_help(command, specs);
        *ret_exit = CLI_OK;
        return false;
    }
    if (argc - rest < line->operands_min || argc - rest > line->operands_max) {
        *ret_exit = cli_fail(c, CLI_USAGE, "USAGE", "usage: avocado %s %s", command->name,
                             command->synopsis);
        return false;
    }
    *ret_rest = rest;
    return true;
}

/* File names and peers' texts may hold anything; a terminal must not obey them. */
static void tame(char *text)
{
    for (unsigned char *p = (unsigned char *)text; *p != '\0'; p++) {
        if (*p < ' ' || *p == 0x7f) {
            *p = '?';
        }
    }
}

__attribute__((format(printf, 1, 0))) static void say(const char *format, va_list args)
{
    char text[1024];

    (void)vsnprintf(text, sizeof(text), format, args);
    tame(text);
    (void)fprintf(stderr, "avocado: %s\n", text);
}

void cli_error(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say(format, args);
    va_end(args);
}

int cli_fail(const struct cli *c, int code, const char *name, const char *format, ...)
{
    va_list args;

    if (c->json) {
        char text[1024];
        json_t *object = json_object();

        va_start(args, format);
        (void)vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        (void)json_object_set_new(object, "status", json_string(name));
        cli_json_bytes(object, "error", text, strlen(text));
        cli_json_print(object);
        return code;
    }
    va_start(args, format);
    say(format, args);
    va_end(args);
    return code;
}

int cli_fail_status(const struct cli *c, enum avo_status status, const char *text)
{
    bool has_text = text != NULL && text[0] != '\0';

    return cli_fail(c, cli_exit_of(status), avo_status_name(status), "%s",
                    has_text ? text : avo_status_text(status));
}

int cli_exit_of(enum avo_status status)
{
    switch (status) {
    case AVO_OK:
        return CLI_OK;
    case AVO_NOT_FOUND:
    case AVO_MISMATCH:
        return CLI_NOT_FOUND;
    case AVO_USAGE:
    case AVO_TOO_BIG:
    case AVO_NOT_NUMBER:
    case AVO_OVERFLOW:
        return CLI_USAGE;
    case AVO_UNAVAILABLE:
    case AVO_ENCLAVE_MEMORY:
    case AVO_HOST_MEMORY:
    case AVO_BUSY:
    case AVO_NO_MEMORY:
        return CLI_UNAVAILABLE;
    case AVO_INDETERMINATE:
        return CLI_INDETERMINATE;
    case AVO_REFUSED:
        return CLI_REFUSED;
    case AVO_INTEGRITY:
        return CLI_INTEGRITY;
    }
    return CLI_UNAVAILABLE;
}

const char *cli_cluster_path(const struct cli *c)
{
    const char *from_environment = getenv("AVOCADO_CLUSTER");

    if (c->cluster != NULL) {
        return c->cluster;
    }
    return from_environment != NULL && from_environment[0] != '\0' ? from_environment
                                                                   : default_cluster;
}

struct avo_client *cli_open(const struct cli *c, const struct avo_options *more, int *ret_exit)
{
    struct avo_options options = more == NULL ? (struct avo_options){0} : *more;
    struct avo_client *client = NULL;
    enum avo_status status;
    char why[512] = "";

    /* The library bounds a single operation more tightly than a command may be; 0 is its default.
     */
    options.timeout_ms = c->timeout_ms > 60000 ? 60000 : (uint32_t)c->timeout_ms;
    options.connect_ms = options.timeout_ms;
    status = avo_open(cli_cluster_path(c), &options, &client, why, sizeof(why));
    if (status != AVO_OK) {
        *ret_exit = cli_fail_status(c, status, why);
        return NULL;
    }
    return client;
}

uint64_t cli_now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static char *to_hex(const uint8_t *p, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    char *text = malloc(2 * n + 1);

    if (text == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < n; i++) {
        text[2 * i] = digits[p[i] >> 4];
        text[2 * i + 1] = digits[p[i] & 15];
    }
    text[2 * n] = '\0';
    return text;
}

void cli_json_bytes(json_t *object, const char *name, const void *p, size_t n)
{
    json_t *text = json_stringn(n == 0 ? "" : p, n); /* NULL unless UTF-8 */
    char hex_name[64];
    char *hex;

    if (text != NULL) {
        (void)json_object_set_new(object, name, text);
        return;
    }
    hex = to_hex(p, n);
    (void)snprintf(hex_name, sizeof(hex_name), "%s_hex", name);
    (void)json_object_set_new(object, hex_name, json_string(hex == NULL ? "" : hex));
    free(hex);
}

void cli_json_print(json_t *object)
{
    (void)json_dumpf(object, stdout, JSON_COMPACT);
    (void)putchar('\n');
    json_decref(object);
}

static int nibble(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

uint8_t *cli_from_hex(const char *text, size_t *ret_n)
{
    size_t n = strlen(text);
    uint8_t *out;

    if (n % 2 != 0) {
        return NULL;
    }
    out = malloc(n / 2 + 1);
    for (size_t i = 0; out != NULL && i < n; i += 2) {
        int high = nibble(text[i]), low = nibble(text[i + 1]);

        if (high < 0 || low < 0) {
            free(out);
            return NULL;
        }
        out[i / 2] = (uint8_t)(high << 4 | low);
    }
    if (out != NULL) {
        *ret_n = n / 2;
    }
    return out;
}

bool cli_find_program(const char *name, char to[static PATH_MAX])
{
    char own[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", own, sizeof(own) - 1);
    const char *path = getenv("PATH");

    if (n > 0) {
        own[n] = '\0';
        *strrchr(own, '/') = '\0';
        if (snprintf(to, PATH_MAX, "%s/%s", own, name) < PATH_MAX && access(to, X_OK) == 0) {
            return true;
        }
    }
    while (path != NULL && *path != '\0') {
        size_t len = strcspn(path, ":");

        if (path[0] == '/' && snprintf(to, PATH_MAX, "%.*s/%s", (int)len, path, name) < PATH_MAX &&
            access(to, X_OK) == 0) {
            return true;
        }
        path += len;
        path += *path == ':';
    }
    return false;
}
