// SPDX-License-Identifier: Apache-2.0
/* avocado cas, putnx, incr, append, getset, delif: one read-modify-write each. */
#include "tools/cmd_data.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct kind {
    const char *name;
    enum avo_op op;
    bool has_expect, has_value;
};

static const struct kind kinds[] = {
    {"cas", AVO_CAS, true, true},         {"putnx", AVO_PUT_NEW, false, true},
    {"incr", AVO_INCR, false, false},     {"append", AVO_APPEND, false, true},
    {"getset", AVO_GET_SET, false, true}, {"delif", AVO_DELETE_IF, true, false},
};

static const struct kind *kind_named(const char *name)
{
    const struct kind *k = kinds;

    while (strcmp(k->name, name) != 0) {
        k++;
    }
    return k;
}

/* A value of the command line; '-' is standard input, for one of them. */
static bool take(const struct cli *c, const char *word, bool *stdin_used, struct text *ret,
                 int *ret_exit)
{
    if (strcmp(word, "-") != 0) {
        *ret = (struct text){.p = word, .n = strlen(word)};
        return true;
    }
    if (*stdin_used) {
        *ret_exit = cli_fail(c, CLI_USAGE, "USAGE", "only one value can be standard input");
        return false;
    }
    *stdin_used = true;
    return text_value(c, "-", ret, ret_exit);
}

static bool take_number(const struct cli *c, const char *word, int64_t *ret, int *ret_exit)
{
    char *end;

    errno = 0;
    *ret = strtoll(word, &end, 10);
    if (errno != 0 || end == word || *end != '\0') {
        *ret_exit = cli_fail(c, CLI_USAGE, "USAGE", "'%s' is not a number of 64 bits", word);
        return false;
    }
    return true;
}

static int say(const struct cli *c, const struct avo_rmw *rmw, enum avo_status status,
               const struct text *found, const char *why)
{
    const struct text key = {.p = rmw->key, .n = rmw->key_len};
    json_t *object;

    if (c->json && (status == AVO_OK || status == AVO_MISMATCH)) {
        object = json_object();
        (void)json_object_set_new(object, "status", json_string(avo_status_name(status)));
        cli_json_bytes(object, "key", key.p, key.n);
        if (found->p != NULL) {
            cli_json_bytes(object, "value", found->p, found->n);
        } else if (rmw->op == AVO_GET_SET) {
            (void)json_object_set_new(object, "value", json_null());
        }
        cli_json_print(object);
        return cli_exit_of(status);
    }
    if (status != AVO_OK || found->p == NULL) {
        return text_report(c, status, &key, NULL, why);
    }
    if (rmw->op == AVO_GET_SET) {
        return text_print(c, &key, found);
    }
    (void)printf("%.*s\n", (int)found->n, (const char *)found->p);
    return CLI_OK;
}

static int run(const struct cli *c, const struct avo_rmw *rmw)
{
    struct text found = {0};
    struct avo_client *client;
    enum avo_status status;
    int code;

    client = cli_open(c, NULL, &code);
    if (client == NULL) {
        return code;
    }
    status = avo_rmw(client, rmw, &found.owned, &found.n);
    found.p = found.owned;
    code = say(c, rmw, status, &found, avo_last_error(client));
    text_release(&found);
    avo_close(client);
    return code;
}

/* "-5" as the last word is an amount, not an option. */
static bool is_negative(const char *word)
{
    return word[0] == '-' && word[1] >= '0' && word[1] <= '9';
}

int cmd_rmw(struct cli *c, int argc, char **argv)
{
    const struct kind *kind = kind_named(argv[0]);
    bool key_hex = false, stdin_used = false;
    const struct option_spec specs[] = {
        {"key-hex", NULL, "KEY is hexadecimal", OPTION_FLAG, &key_hex, 0, 0, NULL},
        {0},
    };
    bool is_incr = kind->op == AVO_INCR;
    const char *amount = is_incr && argc > 2 && is_negative(argv[argc - 1]) ? argv[--argc] : NULL;
    int values_n = (kind->has_expect ? 1 : 0) + (kind->has_value ? 1 : 0);
    const struct cli_line line = {kind->name, specs, 1 + values_n,
                                  1 + values_n + (is_incr && amount == NULL ? 1 : 0)};
    struct avo_rmw rmw = {.op = kind->op, .delta = is_incr ? 1 : 0};
    struct text key = {0}, expect = {0}, value = {0};
    int rest, code;
    bool ok;

    if (!cli_parse(c, &line, argc, argv, &rest, &code)) {
        return code;
    }
    amount = is_incr && argc - rest == 2 ? argv[rest + 1] : amount;
    ok = text_key(c, argv[rest++], key_hex, &key, &code) &&
         (!kind->has_expect || take(c, argv[rest++], &stdin_used, &expect, &code)) &&
         (!kind->has_value || take(c, argv[rest], &stdin_used, &value, &code)) &&
         (amount == NULL || take_number(c, amount, &rmw.delta, &code));
    if (ok) {
        rmw.key = key.p;
        rmw.key_len = key.n;
        rmw.expect = expect.p;
        rmw.expect_len = expect.n;
        rmw.value = value.p;
        rmw.value_len = value.n;
        code = run(c, &rmw);
    }
    text_release(&key);
    text_release(&expect);
    text_release(&value);
    return code;
}
