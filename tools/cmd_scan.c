// SPDX-License-Identifier: Apache-2.0
/* avocado scan: the keys of a range. */
#include "tools/cli.h"

#include "common/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct scan_line {
    const char *prefix, *cursor;
    uint64_t limit;
    bool reverse, values, key_hex;
};

/* A bound as given, or from hexadecimal. */
struct bound {
    const void *p;
    size_t n;
    void *owned; /* what to free */
};

static bool read_bound(const struct cli *c, const char *word, bool is_hex, struct bound *ret,
                       int *ret_exit)
{
    *ret = (struct bound){.p = word, .n = word == NULL ? 0 : strlen(word)};
    if (ret->n != 0 && is_hex) {
        ret->owned = cli_from_hex(word, &ret->n);
        ret->p = ret->owned;
        if (ret->owned == NULL) {
            *ret_exit = cli_fail(c, CLI_USAGE, "USAGE",
                                 "'%s' is not hexadecimal: an even number of digits 0-9 a-f", word);
            return false;
        }
    }
    return true;
}

static void print_hex(const void *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        (void)printf("%02x", ((const uint8_t *)p)[i]);
    }
}

static void print_entry(const struct cli *c, const struct scan_line *line,
                        const struct avo_entry *e)
{
    if (c->json) {
        json_t *object = json_object();

        cli_json_bytes(object, "key", e->key, e->key_len);
        if (line->values) {
            cli_json_bytes(object, "value", e->value, e->value_len);
        }
        cli_json_print(object);
        return;
    }
    if (line->key_hex) {
        print_hex(e->key, e->key_len);
    } else {
        (void)fwrite(e->key, 1, e->key_len, stdout);
    }
    if (line->values) {
        (void)putchar('\t');
        (void)fwrite(e->value, 1, e->value_len, stdout);
    }
    (void)putchar('\n');
}

/* The last line of JSON, or a hint on standard error when the limit ended the scan. */
static void print_end(const struct cli *c, const struct scan_line *line, uint64_t count,
                      const char *cursor)
{
    if (c->json) {
        json_t *object = json_object();

        (void)json_object_set_new(object, "status", json_string("OK"));
        (void)json_object_set_new(object, "count", json_integer((json_int_t)count));
        (void)json_object_set_new(object, "cursor", json_string(cursor));
        cli_json_print(object);
    } else if (line->limit != 0 && count == line->limit) {
        (void)fflush(stdout);
        (void)fprintf(stderr, "avocado: go on with --cursor %s\n", cursor);
    }
}

static int run(const struct cli *c, struct avo_client *client, const struct scan_line *line,
               const struct avo_scan_options *options)
{
    char cursor[AVO_CURSOR_MAX] = "";
    struct avo_scan *scan;
    struct avo_entry e;
    uint64_t count = 0;
    enum avo_status status = avo_scan_open(client, options, &scan);

    if (status != AVO_OK) {
        return cli_fail_status(c, status, avo_last_error(client));
    }
    for (;;) {
        status = avo_scan_next(scan, &e, -1);
        if (status != AVO_OK || ferror(stdout)) {
            break;
        }
        print_entry(c, line, &e);
        count++;
    }
    (void)avo_scan_cursor(scan, cursor, sizeof(cursor));
    avo_scan_close(scan);
    if (status == AVO_OK || status == AVO_NOT_FOUND) {
        print_end(c, line, count, cursor);
        return CLI_OK;
    }
    if (!c->json && cursor[0] != '\0') {
        (void)fprintf(stderr, "avocado: go on with --cursor %s\n", cursor);
    }
    return cli_fail_status(c, status, avo_last_error(client));
}

int cmd_scan(struct cli *c, int argc, char **argv)
{
    struct scan_line line = {0};
    const struct option_spec specs[] = {
        {"prefix", "P", "only keys that begin with P", OPTION_TEXT, &line.prefix, 0, 0, NULL},
        {"limit", "N", "at most N keys", OPTION_NUMBER, &line.limit, 1, UINT32_MAX, NULL},
        {"reverse", NULL, "from the end to the start", OPTION_FLAG, &line.reverse, 0, 0, NULL},
        {"values", NULL, "print values, too: KEY<tab>VALUE", OPTION_FLAG, &line.values, 0, 0, NULL},
        {"cursor", "C", "go on where a scan of the same range stopped", OPTION_TEXT, &line.cursor,
         0, 0, NULL},
        {"key-hex", NULL, "START, END and P are hexadecimal, and keys are printed so", OPTION_FLAG,
         &line.key_hex, 0, 0, NULL},
        {0},
    };
    struct bound start = {0}, end = {0}, prefix = {0};
    struct avo_client *client;
    int rest, code;

    if (!cli_parse(c, &(struct cli_line){"scan", specs, 0, 2}, argc, argv, &rest, &code)) {
        return code;
    }
    if (read_bound(c, rest < argc ? argv[rest] : NULL, line.key_hex, &start, &code) &&
        read_bound(c, rest + 1 < argc ? argv[rest + 1] : NULL, line.key_hex, &end, &code) &&
        read_bound(c, line.prefix, line.key_hex, &prefix, &code)) {
        const struct avo_scan_options o = {
            .start = start.p,
            .start_len = start.n,
            .end = end.p,
            .end_len = end.n,
            .prefix = prefix.p,
            .prefix_len = prefix.n,
            .cursor = line.cursor,
            .limit = line.limit,
            .flags = (line.reverse ? AVO_SCAN_REVERSE : 0U) | (line.values ? AVO_SCAN_VALUES : 0U),
        };

        client = cli_open(c, NULL, &code);
        if (client != NULL) {
            code = run(c, client, &line, &o);
            avo_close(client);
        }
    }
    free(start.owned);
    free(end.owned);
    free(prefix.owned);
    return code;
}
