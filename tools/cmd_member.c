// SPDX-License-Identifier: Apache-2.0
/* avocado member: who belongs to a cluster on this machine, and orders to change that. */
#include "tools/cli.h"
#include "tools/cluster_dir.h"
#include "tools/supervisor_call.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WAIT_MS = 120000, PAUSE_MS = 50 };

struct member {
    struct cli *cli;
    const char *dir;
    bool no_wait;
    int fd;
};

static int64_t number(const json_t *o, const char *name)
{
    return json_integer_value(json_object_get(o, name));
}

static const char *text(const json_t *o, const char *name)
{
    const char *s = json_string_value(json_object_get(o, name));

    return s == NULL ? "" : s;
}

static void print_table(const json_t *a)
{
    const json_t *m;
    size_t i;

    (void)printf("%-5s %-12s %-22s %-8s %-7s %6s %10s\n", "NODE", "INCARNATION", "ADDRESS", "ROLE",
                 "EPOCH", "SLOTS", "KEYS");
    json_array_foreach(json_object_get(a, "members"), i, m)
    {
        bool lost = json_is_true(json_object_get(m, "lost"));
        char address[80], now[80] = "";

        (void)snprintf(address, sizeof(address), "%s:%" PRId64, text(m, "address"),
                       number(m, "port"));
        if (!lost && number(m, "slots_joining") != 0) {
            (void)snprintf(now, sizeof(now), "  joining %" PRId64 ", %" PRId64 " keys copied",
                           number(m, "slots_joining"), number(m, "copied_keys"));
        } else if (!lost && number(m, "shedding") != 0) {
            (void)snprintf(now, sizeof(now), "  forgetting %" PRId64 " keys",
                           number(m, "shedding"));
        } else if (!lost && number(a, "groups") == 1 && strcmp(text(m, "role"), "learner") == 0) {
            (void)snprintf(now, sizeof(now), "  standing by");
        }
        (void)printf(
            "%-5" PRId64 " %-12" PRId64 " %-22s %-8s %-7" PRId64 " %6" PRId64 " %10" PRId64 "%s",
            number(m, "node"), number(m, "incarnation"), address, lost ? "lost" : text(m, "role"),
            number(m, "epoch"), number(m, "slots"), number(m, "keys"), now);
        if (!lost && number(m, "keys_lost") > 0) {
            (void)printf("  %" PRId64 " keys lost to its host", number(m, "keys_lost"));
        }
        (void)printf("\n");
    }
    (void)printf("epoch %" PRId64 ", %s\n", number(a, "epoch"), text(a, "what"));
}

static int exit_of(const char *status)
{
    if (strcmp(status, "OK") == 0) {
        return CLI_OK;
    }
    if (strcmp(status, "USAGE") == 0) {
        return CLI_USAGE;
    }
    return strcmp(status, "POLICY") == 0 ? CLI_REFUSED : CLI_UNAVAILABLE;
}

static json_t *ask(struct member *m, json_t *q, int *ret_code)
{
    json_t *a = supervisor_call(m->fd, q);

    *ret_code = CLI_OK;
    if (a == NULL) {
        *ret_code =
            cli_fail(m->cli, CLI_UNAVAILABLE, "NO_SUPERVISOR",
                     "the cluster in %s has no supervisor; 'avocado up --dir %s' starts one",
                     m->dir, m->dir);
    } else if (strcmp(text(a, "status"), "OK") != 0) {
        *ret_code =
            cli_fail(m->cli, exit_of(text(a, "status")), text(a, "status"), "%s", text(a, "why"));
        json_decref(a);
        a = NULL;
    }
    return a;
}

/* Shows how far it is until nothing changes any more. */
static int follow(struct member *m, json_t *a)
{
    uint64_t until = cli_now_ms() + (m->cli->timeout_ms == 0 ? WAIT_MS : m->cli->timeout_ms);
    char last[512] = "";
    int code = CLI_OK;

    while (a != NULL && !m->no_wait && strcmp(text(a, "health"), "changing") == 0) {
        if (!m->cli->json && strcmp(last, text(a, "what")) != 0) {
            (void)snprintf(last, sizeof(last), "%s", text(a, "what"));
            (void)printf("%s\n", last);
            (void)fflush(stdout);
        }
        if (cli_now_ms() > until) {
            json_decref(a);
            return cli_fail(m->cli, CLI_UNAVAILABLE, "TIMEOUT",
                            "it is not done in time and goes on; see 'avocado member list'");
        }
        (void)usleep(PAUSE_MS * 1000);
        json_decref(a);
        a = ask(m, json_pack("{s:s}", "do", "status"), &code);
    }
    if (a == NULL) {
        return code;
    }
    if (m->cli->json) {
        cli_json_print(a);
    } else {
        print_table(a);
        json_decref(a);
    }
    return code;
}

/* A whole number from 1 to 2^31-1; 0: it is none. */
static int node_of(const char *word)
{
    char *end;
    long n = strtol(word, &end, 10);

    return *word >= '1' && *word <= '9' && *end == '\0' && n <= INT32_MAX ? (int)n : 0;
}

static int order(struct member *m, char **words, int n)
{
    static const struct {
        const char *name;
        int min, max; /* operands after it */
    } orders[] = {{"list", 0, 0},    {"add", 0, 1},    {"remove", 1, 1},
                  {"replace", 1, 2}, {"factor", 1, 1}, {"accept-loss", 0, 0}};
    int numbers[2] = {0}, code;
    size_t k = 0;
    json_t *q, *a;

    while (k < sizeof(orders) / sizeof(orders[0]) && strcmp(orders[k].name, words[0]) != 0) {
        k++;
    }
    if (k == sizeof(orders) / sizeof(orders[0]) || n - 1 < orders[k].min || n - 1 > orders[k].max) {
        return cli_fail(m->cli, CLI_USAGE, "USAGE", "see avocado member --help");
    }
    for (int i = 1; i < n; i++) {
        numbers[i - 1] = node_of(words[i]);
        if (numbers[i - 1] == 0) {
            return cli_fail(m->cli, CLI_USAGE, "USAGE", "'%s' is no number of a node", words[i]);
        }
    }
    q = json_pack("{s:s,s:i,s:i}", "do", k == 0 ? "status" : orders[k].name, "node", numbers[0],
                  "by", numbers[1]);
    m->no_wait = m->no_wait || k == 0;
    a = ask(m, q, &code);
    return a == NULL ? code : follow(m, a);
}

int cmd_member(struct cli *c, int argc, char **argv)
{
    struct member m = {.cli = c, .dir = cli_default_dir};
    const struct option_spec specs[] = {
        {"dir", "D", "folder of the cluster (default ./avocado-data)", OPTION_TEXT, &m.dir, 0, 0,
         NULL},
        {"no-wait", NULL, "give the order and do not wait until it is carried out", OPTION_FLAG,
         &m.no_wait, 0, 0, NULL},
        {0},
    };
    struct cluster_dir d;
    struct explain why = {{0}};
    enum err err;
    int rest, code;

    if (!cli_parse(c, &(struct cli_line){"member", specs, 1, 3}, argc, argv, &rest, &code)) {
        return code;
    }
    if (cluster_dir_probe(m.dir) != CLUSTER_DIR_PRESENT) {
        return cli_fail(c, CLI_USAGE, "USAGE", "no cluster in %s; give its folder with --dir",
                        m.dir);
    }
    err = cluster_dir_look(m.dir, &d, &why);
    if (err != OK) {
        return cli_fail(c, err == ERR_AUTH ? CLI_REFUSED : CLI_UNAVAILABLE, err_name(err), "%s",
                        why.text);
    }
    m.fd = d.fd;
    code = order(&m, argv + rest, argc - rest);
    cluster_dir_close(&d);
    return code;
}
