// SPDX-License-Identifier: Apache-2.0
/* avocado policy: what the owner of a cluster on this machine tells its CAS, and what that has
 * done. */
#include "tools/cas_link.h"
#include "tools/cli.h"
#include "tools/cluster_dir.h"
#include "tools/slurp.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POLICY_MAX = 1 << 20, ANSWER_MS = 5000 };

struct policy {
    struct cli *cli;
    const char *dir;
    struct cluster_dir folder;
    struct cas_link cas;
};

static int exit_of(enum err err)
{
    if (err == ERR_USAGE) {
        return CLI_USAGE;
    }
    return err == ERR_POLICY || err == ERR_AUTH ? CLI_REFUSED : CLI_UNAVAILABLE;
}

/* NULL: it was refused or there was no answer, and *ret_code is what to return. */
static json_t *ask(const struct policy *p, const char *method, const char *path, json_t *body,
                   int *ret_code)
{
    uint64_t wait_ms = p->cli->timeout_ms == 0 ? ANSWER_MS : p->cli->timeout_ms;
    const struct cas_link_ask q = {
        .method = method, .path = path, .body = body, .timeout_ms = (uint32_t)wait_ms};
    struct explain why = {{0}};
    json_t *answer = NULL;
    enum err err = cas_link_call(&p->cas, &q, &answer, &why);

    *ret_code = CLI_OK;
    if (err != OK) {
        *ret_code = cli_fail(p->cli, exit_of(err), err_name(err), "%s", why.text);
        return NULL;
    }
    return answer;
}

static int show(const struct policy *p, const char *word)
{
    int code;
    json_t *a = ask(p, "GET", "/v1/policy", NULL, &code);

    (void)word;
    if (a != NULL && p->cli->json) {
        cli_json_print(a);
    } else if (a != NULL) {
        (void)fputs(json_string_value(json_object_get(a, "text")), stdout);
        json_decref(a);
    }
    return code;
}

static int set(const struct policy *p, const char *path)
{
    const struct spit how = {.dir = p->folder.fd, .mode = 0600, .may_replace = true};
    uint8_t *text = NULL;
    size_t n = 0;
    json_t *a;
    int code;

    if (slurp_at(AT_FDCWD, path, POLICY_MAX, &text, &n) != SLURP_OK) {
        return cli_fail(p->cli, CLI_USAGE, "IO", "%s cannot be read: %s", path, strerror(errno));
    }
    if (strlen((const char *)text) != n) {
        free(text);
        return cli_fail(p->cli, CLI_USAGE, "MALFORMED", "%s is no text", path);
    }
    a = ask(p, "POST", "/v1/policy", json_pack("{s:s}", "policy", text), &code);
    if (a == NULL) {
        free(text);
        return code;
    }
    if (!spit_at(&how, "policy.yaml", text, n)) { /* the CAS has it; 'up' would miss it */
        (void)fprintf(stderr, "avocado policy: %s/policy.yaml cannot be written: %s\n",
                      p->folder.path, strerror(errno));
    }
    free(text);
    if (p->cli->json) {
        cli_json_print(a);
        return CLI_OK;
    }
    (void)printf("policy %" JSON_INTEGER_FORMAT " is in force\n",
                 json_integer_value(json_object_get(a, "policy")));
    json_decref(a);
    return CLI_OK;
}

static int revoke(const struct policy *p, const char *name)
{
    int code;
    json_t *a = ask(p, "POST", "/v1/revoke", json_pack("{s:s}", "name", name), &code);

    if (a != NULL && p->cli->json) {
        cli_json_print(a);
    } else if (a != NULL) {
        (void)printf("%s is revoked: no certificate is renewed, and sessions end within 10 s\n",
                     name);
        json_decref(a);
    }
    return code;
}

static const char *text_of(const json_t *o, const char *name)
{
    const char *text = json_string_value(json_object_get(o, name));

    return text == NULL ? "" : text;
}

/* All of the log, which comes in pieces: the first answer, with the entries of the others behind
 * its own. */
static json_t *whole_log(const struct policy *p, int *ret_code)
{
    json_t *all = ask(p, "GET", "/v1/audit", NULL, ret_code), *more;
    json_t *log = json_object_get(all, "log");

    for (size_t n = 0; all != NULL && json_array_size(log) > n;) {
        char path[64];

        n = json_array_size(log);
        if ((json_int_t)n >= json_integer_value(json_object_get(all, "entries"))) {
            break;
        }
        (void)snprintf(path, sizeof(path), "/v1/audit?from=%zu", n + 1);
        more = ask(p, "GET", path, NULL, ret_code);
        if (more == NULL) {
            json_decref(all);
            return NULL;
        }
        (void)json_array_extend(log, json_object_get(more, "log"));
        json_decref(more);
    }
    return all;
}

static int audit(const struct policy *p, const char *word)
{
    int code;
    json_t *a = whole_log(p, &code);
    const json_t *e;
    size_t i;

    (void)word;
    if (a == NULL) {
        return code;
    }
    if (p->cli->json) {
        cli_json_print(a);
        return CLI_OK;
    }
    json_array_foreach(json_object_get(a, "log"), i, e)
    {
        (void)printf("%-21s %-10s %-24s %s\n", text_of(e, "at"), text_of(e, "what"),
                     text_of(e, "who"), text_of(e, "detail"));
    }
    (void)printf("%" JSON_INTEGER_FORMAT " entries; the head of their chain is %s\n",
                 json_integer_value(json_object_get(a, "entries")), text_of(a, "head"));
    json_decref(a);
    return CLI_OK;
}

static int order(struct policy *p, char **words, int n)
{
    static const struct {
        const char *name;
        int operands;
        int (*run)(const struct policy *p, const char *word);
    } orders[] = {{"show", 0, show}, {"set", 1, set}, {"revoke", 1, revoke}, {"audit", 0, audit}};
    struct explain why = {{0}};
    size_t k = 0;
    enum err err;
    int code;

    while (k < sizeof(orders) / sizeof(orders[0]) && strcmp(orders[k].name, words[0]) != 0) {
        k++;
    }
    if (k == sizeof(orders) / sizeof(orders[0]) || n - 1 != orders[k].operands) {
        return cli_fail(p->cli, CLI_USAGE, "USAGE", "see avocado policy --help");
    }
    err = cas_link_open(p->folder.fd, &p->cas, &why);
    if (err != OK) {
        return cli_fail(p->cli, CLI_UNAVAILABLE, err_name(err), "%s", why.text);
    }
    code = orders[k].run(p, n > 1 ? words[1] : NULL);
    cas_link_close(&p->cas);
    return code;
}

int cmd_policy(struct cli *c, int argc, char **argv)
{
    struct policy p = {.cli = c, .dir = cli_default_dir};
    const struct option_spec specs[] = {
        {"dir", "D", "folder of the cluster (default ./avocado-data)", OPTION_TEXT, &p.dir, 0, 0,
         NULL},
        {0},
    };
    struct explain why = {{0}};
    enum err err;
    int rest, code;

    if (!cli_parse(c, &(struct cli_line){"policy", specs, 1, 2}, argc, argv, &rest, &code)) {
        return code;
    }
    if (cluster_dir_probe(p.dir) != CLUSTER_DIR_PRESENT) {
        return cli_fail(c, CLI_USAGE, "USAGE", "no cluster in %s; give its folder with --dir",
                        p.dir);
    }
    err = cluster_dir_look(p.dir, &p.folder, &why);
    if (err != OK) {
        return cli_fail(c, err == ERR_AUTH ? CLI_REFUSED : CLI_UNAVAILABLE, err_name(err), "%s",
                        why.text);
    }
    code = order(&p, argv + rest, argc - rest);
    cluster_dir_close(&p.folder);
    return code;
}
