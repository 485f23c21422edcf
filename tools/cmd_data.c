// SPDX-License-Identifier: Apache-2.0
/* avocado put, get, del: one operation each. */
#include "tools/cmd_data.h"
#include "tools/slurp.h"

#include "common/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void text_release(struct text *t)
{
    free(t->owned);
    *t = (struct text){0};
}

bool text_key(const struct cli *c, const char *word, bool is_hex, struct text *ret, int *ret_exit)
{
    struct text t = {.p = word, .n = strlen(word)};

    if (is_hex) {
        t.owned = cli_from_hex(word, &t.n);
        t.p = t.owned;
        if (t.owned == NULL) {
            *ret_exit = cli_fail(c, CLI_USAGE, "USAGE",
                                 "the key is not hexadecimal: an even number of digits 0-9 a-f");
            return false;
        }
    }
    if (t.n == 0 || t.n > KEY_MAX) {
        *ret_exit = cli_fail(c, CLI_USAGE, "TOO_BIG", "a key has 1 to %d bytes, this one has %zu",
                             KEY_MAX, t.n);
        text_release(&t);
        return false;
    }
    *ret = t;
    return true;
}

bool text_value(const struct cli *c, const char *path, struct text *ret, int *ret_exit)
{
    bool is_stdin = strcmp(path, "-") == 0;
    int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    enum slurp_result result = SLURP_FAILED;
    uint8_t *p = NULL;
    size_t n = 0;

    if (fd >= 0) {
        result = slurp(fd, VALUE_MAX, &p, &n);
    }
    if (result == SLURP_FAILED) {
        *ret_exit = cli_fail(c, CLI_USAGE, "USAGE", "cannot read the value from %s: %s",
                             is_stdin ? "standard input" : path, strerror(errno));
    } else if (result == SLURP_TOO_BIG) {
        *ret_exit = cli_fail(c, CLI_USAGE, "TOO_BIG", "a value has at most %d bytes", VALUE_MAX);
    } else {
        *ret = (struct text){.p = p, .n = n, .owned = p};
    }
    if (fd > STDERR_FILENO) {
        (void)close(fd);
    }
    return result == SLURP_OK;
}

int text_report(const struct cli *c, enum avo_status status, const struct text *key,
                const struct text *value, const char *why)
{
    json_t *object;

    if (status != AVO_OK) {
        return cli_fail_status(c, status, why);
    }
    if (c->json) {
        object = json_object();
        (void)json_object_set_new(object, "status", json_string(avo_status_name(status)));
        cli_json_bytes(object, "key", key->p, key->n);
        if (value != NULL) {
            cli_json_bytes(object, "value", value->p, value->n);
        }
        cli_json_print(object);
    }
    return CLI_OK;
}

int cmd_put(struct cli *c, int argc, char **argv)
{
    bool key_hex = false;
    const char *file = NULL;
    const struct option_spec specs[] = {
        {"key-hex", NULL, "KEY is hexadecimal", OPTION_FLAG, &key_hex, 0, 0, NULL},
        {"value-file", "FILE", "read the value from FILE", OPTION_TEXT, &file, 0, 0, NULL},
        {0},
    };
    struct text key = {0}, value = {0};
    struct avo_client *client;
    enum avo_status status;
    int rest, code;

    if (!cli_parse(c, &(struct cli_line){"put", specs, 1, 2}, argc, argv, &rest, &code)) {
        return code;
    }
    if ((argc - rest == 2) == (file != NULL)) {
        return cli_fail(c, CLI_USAGE, "USAGE", "usage: avocado put %s",
                        cli_command_named("put")->synopsis);
    }
    if (!text_key(c, argv[rest], key_hex, &key, &code)) {
        return code;
    }
    if (file == NULL && strcmp(argv[rest + 1], "-") != 0) {
        value = (struct text){.p = argv[rest + 1], .n = strlen(argv[rest + 1])};
    } else if (!text_value(c, file == NULL ? "-" : file, &value, &code)) {
        text_release(&key);
        return code;
    }
    client = cli_open(c, NULL, &code);
    if (client != NULL) {
        status = avo_put(client, key.p, key.n, value.p, value.n);
        code = text_report(c, status, &key, NULL, avo_last_error(client));
        avo_close(client);
    }
    text_release(&key);
    text_release(&value);
    return code;
}

int text_print(const struct cli *c, const struct text *key, const struct text *value)
{
    if (c->json) {
        return text_report(c, AVO_OK, key, value, "");
    }
    (void)fwrite(value->p, 1, value->n, stdout);
    if (isatty(STDOUT_FILENO)) {
        (void)putchar('\n');
    }
    return CLI_OK;
}

int cmd_get(struct cli *c, int argc, char **argv)
{
    bool key_hex = false;
    const struct option_spec specs[] = {
        {"key-hex", NULL, "KEY is hexadecimal", OPTION_FLAG, &key_hex, 0, 0, NULL},
        {0},
    };
    struct text key = {0}, value = {0};
    struct avo_client *client;
    enum avo_status status;
    int rest, code;

    if (!cli_parse(c, &(struct cli_line){"get", specs, 1, 1}, argc, argv, &rest, &code) ||
        !text_key(c, argv[rest], key_hex, &key, &code)) {
        return code;
    }
    client = cli_open(c, NULL, &code);
    if (client != NULL) {
        status = avo_get(client, key.p, key.n, &value.owned, &value.n);
        value.p = value.owned;
        code = status == AVO_OK ? text_print(c, &key, &value)
                                : text_report(c, status, &key, NULL, avo_last_error(client));
        avo_close(client);
    }
    text_release(&key);
    text_release(&value);
    return code;
}

int cmd_del(struct cli *c, int argc, char **argv)
{
    bool key_hex = false;
    const struct option_spec specs[] = {
        {"key-hex", NULL, "KEY is hexadecimal", OPTION_FLAG, &key_hex, 0, 0, NULL},
        {0},
    };
    struct text key = {0};
    struct avo_client *client;
    int rest, code;

    if (!cli_parse(c, &(struct cli_line){"del", specs, 1, 1}, argc, argv, &rest, &code) ||
        !text_key(c, argv[rest], key_hex, &key, &code)) {
        return code;
    }
    client = cli_open(c, NULL, &code);
    if (client != NULL) {
        code = text_report(c, avo_delete(client, key.p, key.n), &key, NULL, avo_last_error(client));
        avo_close(client);
    }
    text_release(&key);
    return code;
}
