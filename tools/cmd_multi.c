// SPDX-License-Identifier: Apache-2.0
/* avocado mget, mput: several keys in one round. */
#include "tools/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The words after the command as items: KEY..., or KEY VALUE... */
struct words {
    struct avo_item *items;
    void **owned; /* keys from hexadecimal */
    size_t n;
};

static void release(struct words *w)
{
    for (size_t i = 0; w->owned != NULL && i < w->n; i++) {
        free(w->owned[i]);
    }
    free(w->owned);
    free(w->items);
}

/* `each`: words of an item. ret->n of them are there. */
static bool read_words(const struct cli *c, char **argv, size_t each, bool key_hex,
                       struct words *ret, int *ret_exit)
{
    ret->items = calloc(ret->n, sizeof(*ret->items));
    ret->owned = calloc(ret->n, sizeof(*ret->owned));
    if (ret->items == NULL || ret->owned == NULL) {
        *ret_exit = cli_fail_status(c, AVO_NO_MEMORY, NULL);
        return false;
    }
    for (size_t i = 0; i < ret->n; i++) {
        struct avo_item *k = &ret->items[i];
        const char *word = argv[i * each];

        k->key = word;
        k->key_len = strlen(word);
        if (key_hex) {
            ret->owned[i] = cli_from_hex(word, &k->key_len);
            k->key = ret->owned[i];
            if (ret->owned[i] == NULL) {
                *ret_exit =
                    cli_fail(c, CLI_USAGE, "USAGE",
                             "'%s' is not hexadecimal: an even number of digits 0-9 a-f", word);
                return false;
            }
        }
        if (each == 2) {
            k->value = argv[i * each + 1];
            k->value_len = strlen(argv[i * each + 1]);
        }
    }
    return true;
}

static void print_item(const struct cli *c, const struct avo_item *i, bool is_get)
{
    if (c->json) {
        json_t *object = json_object();

        (void)json_object_set_new(object, "status", json_string(avo_status_name(i->status)));
        cli_json_bytes(object, "key", i->key, i->key_len);
        if (is_get && i->status == AVO_OK) {
            cli_json_bytes(object, "value", i->value, i->value_len);
        }
        cli_json_print(object);
        return;
    }
    if (is_get && i->status == AVO_OK) {
        (void)fwrite(i->key, 1, i->key_len, stdout);
        (void)putchar('\t');
        (void)fwrite(i->value, 1, i->value_len, stdout);
        (void)putchar('\n');
    } else if (i->status != AVO_OK) {
        cli_error("%.*s: %s", (int)i->key_len, (const char *)i->key, avo_status_text(i->status));
    }
}

/* The exit code is that of the worst key: a lack is less than a failure. */
static int run(const struct cli *c, struct avo_client *client, struct words *w, bool is_get)
{
    struct avo_batch *batch = NULL;
    enum avo_status status = is_get ? avo_mget(client, w->items, w->n, &batch)
                                    : avo_mput(client, w->items, w->n, &batch);
    int code = CLI_OK;

    if (status != AVO_OK) {
        return cli_fail_status(c, status, avo_last_error(client));
    }
    (void)avo_batch_wait(batch, -1);
    for (size_t i = 0; i < w->n; i++) {
        int of = cli_exit_of(w->items[i].status);

        print_item(c, &w->items[i], is_get);
        code = of > code ? of : code;
    }
    avo_batch_free(batch);
    return code;
}

static int multi(struct cli *c, int argc, char **argv, bool is_get)
{
    const char *name = is_get ? "mget" : "mput";
    const size_t each = is_get ? 1 : 2;
    bool key_hex = false;
    const struct option_spec specs[] = {
        {"key-hex", NULL, "every KEY is hexadecimal", OPTION_FLAG, &key_hex, 0, 0, NULL},
        {0},
    };
    struct words words = {0};
    struct avo_client *client;
    int rest, code;

    if (!cli_parse(c, &(struct cli_line){name, specs, is_get ? 1 : 2, 1 << 20}, argc, argv, &rest,
                   &code)) {
        return code;
    }
    if (!is_get && (argc - rest) % 2 != 0) {
        return cli_fail(c, CLI_USAGE, "USAGE", "usage: avocado mput %s",
                        cli_command_named(name)->synopsis);
    }
    words.n = (size_t)(argc - rest) / each;
    if (read_words(c, argv + rest, each, key_hex, &words, &code)) {
        client = cli_open(c, NULL, &code);
        if (client != NULL) {
            code = run(c, client, &words, is_get);
            avo_close(client);
        }
    }
    release(&words);
    return code;
}

int cmd_mget(struct cli *c, int argc, char **argv)
{
    return multi(c, argc, argv, true);
}

int cmd_mput(struct cli *c, int argc, char **argv)
{
    return multi(c, argc, argv, false);
}
