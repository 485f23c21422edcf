// SPDX-License-Identifier: Apache-2.0
/*
 * avocado import, avocado check: every line KEY<tab>VALUE of a file written, or read and compared,
 * with many operations in flight on one client. Operations on one key are not ordered among each
 * other, which is why the keys of a file must differ.
 */
#include "tools/cli.h"

#include "common/limits.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    WINDOW = 512, /* operations in flight */
    COMPLETIONS = 64,
    FAILURES_MAX = 100, /* then no more are started */
    PROGRESS_MS = 500,
    STATUSES = AVO_NO_MEMORY + 1,
};

/* One line in flight; getline owns the buffer, so that it is reused. */
struct slot {
    char *line;
    size_t cap, key_len, value_len;
};

struct transfer {
    const struct cli *cli;
    struct avo_client *client;
    FILE *from;
    bool is_check, at_end;
    struct slot slots[WINDOW];
    size_t free_n;
    uint16_t free[WINDOW];
    uint64_t line_n, done_n, differ_n, failed_n;
    uint64_t by_status[STATUSES];
    enum avo_status first_failure;
    char why[256]; /* of the first failure */
    uint64_t began_ms, shown_ms;
    int usage_exit; /* 0, or the exit code after a line that is none */
};

static void stop_at_line(struct transfer *t, const char *what)
{
    t->at_end = true;
    t->usage_exit = CLI_USAGE;
    (void)snprintf(t->why, sizeof(t->why), "line %" PRIu64 ": %s", t->line_n, what);
}

/* Reads the next line into a slot. False at the end or at a line that is none. */
static bool next_line(struct transfer *t, struct slot *s)
{
    ssize_t n;
    char *tab;

    errno = 0;
    n = getline(&s->line, &s->cap, t->from);
    t->line_n++;
    if (n < 0) {
        if (ferror(t->from)) {
            stop_at_line(t, strerror(errno));
        }
        t->at_end = true;
        return false;
    }
    if (n > 0 && s->line[n - 1] == '\n') {
        n--;
    }
    tab = memchr(s->line, '\t', (size_t)n);
    if (tab == NULL) {
        stop_at_line(t, "no tab between key and value");
        return false;
    }
    s->key_len = (size_t)(tab - s->line);
    s->value_len = (size_t)n - s->key_len - 1;
    if (s->key_len == 0 || s->key_len > KEY_MAX) {
        stop_at_line(t, "a key has 1 to 1024 bytes");
        return false;
    }
    return true;
}

static void note_failure(struct transfer *t, enum avo_status status, const char *why)
{
    t->failed_n++;
    if ((unsigned)status < STATUSES) {
        t->by_status[status]++;
    }
    if (t->first_failure == AVO_OK) {
        t->first_failure = status;
        (void)snprintf(t->why, sizeof(t->why), "%s",
                       why[0] == '\0' ? avo_status_text(status) : why);
    }
    if (t->failed_n >= FAILURES_MAX) {
        t->at_end = true;
    }
}

static void fill(struct transfer *t)
{
    while (!t->at_end && t->free_n > 0) {
        uint16_t place = t->free[t->free_n - 1];
        struct slot *s = &t->slots[place];
        enum avo_status status;

        if (!next_line(t, s)) {
            return;
        }
        status = avo_submit(t->client, t->is_check ? AVO_GET : AVO_PUT, s->line, s->key_len,
                            t->is_check ? NULL : s->line + s->key_len + 1,
                            t->is_check ? 0 : s->value_len, place);
        if (status == AVO_OK) {
            t->free_n--;
        } else {
            note_failure(t, status, avo_last_error(t->client));
        }
    }
}

static void collect(struct transfer *t, const struct avo_completion *c)
{
    const struct slot *s = &t->slots[c->user];

    t->free[t->free_n++] = (uint16_t)c->user;
    t->done_n++;
    if (t->is_check && c->status == AVO_NOT_FOUND) {
        t->by_status[AVO_NOT_FOUND]++;
    } else if (c->status != AVO_OK) {
        note_failure(t, c->status, avo_last_error(t->client));
    } else if (t->is_check && (c->value_len != s->value_len ||
                               memcmp(c->value, s->line + s->key_len + 1, s->value_len) != 0)) {
        t->differ_n++;
    }
}

static void show_progress(struct transfer *t)
{
    uint64_t now = cli_now_ms(), spent = now - t->began_ms;

    if (now - t->shown_ms < PROGRESS_MS || !isatty(STDERR_FILENO)) {
        return;
    }
    t->shown_ms = now;
    (void)fprintf(stderr, "\r%" PRIu64 " records, %" PRIu64 "/s ", t->done_n,
                  t->done_n * 1000 / (spent == 0 ? 1 : spent));
}

static void run(struct transfer *t)
{
    struct avo_completion got[COMPLETIONS];

    t->began_ms = t->shown_ms = cli_now_ms();
    for (fill(t); avo_in_flight(t->client) > 0; fill(t)) {
        size_t n = avo_poll(t->client, got, COMPLETIONS, PROGRESS_MS);

        for (size_t i = 0; i < n; i++) {
            collect(t, &got[i]);
        }
        show_progress(t);
    }
    if (isatty(STDERR_FILENO) && t->shown_ms != t->began_ms) {
        (void)fputs("\r\033[K", stderr);
    }
}

static int verdict(const struct transfer *t)
{
    if (t->usage_exit != 0) {
        return t->usage_exit;
    }
    if (t->first_failure != AVO_OK) {
        return cli_exit_of(t->first_failure);
    }
    return t->differ_n + t->by_status[AVO_NOT_FOUND] == 0 ? CLI_OK : CLI_NOT_FOUND;
}

static int report(const struct transfer *t, const char *command)
{
    uint64_t spent = cli_now_ms() - t->began_ms;
    double seconds = (double)(spent == 0 ? 1 : spent) / 1000;
    uint64_t missing = t->by_status[AVO_NOT_FOUND];
    int code = verdict(t);

    if (t->cli->json) {
        json_t *object = json_object(), *failures = json_object();

        (void)json_object_set_new(object, "status", json_string(code == CLI_OK ? "OK" : "FAILED"));
        (void)json_object_set_new(object, "records", json_integer((json_int_t)t->done_n));
        (void)json_object_set_new(object, "seconds", json_real(seconds));
        (void)json_object_set_new(object, "ops_per_s", json_real((double)t->done_n / seconds));
        (void)json_object_set_new(object, "missing", json_integer((json_int_t)missing));
        (void)json_object_set_new(object, "different", json_integer((json_int_t)t->differ_n));
        for (int s = 2; s < STATUSES; s++) {
            if (t->by_status[s] != 0) {
                (void)json_object_set_new(failures, avo_status_name((enum avo_status)s),
                                          json_integer((json_int_t)t->by_status[s]));
            }
        }
        (void)json_object_set_new(object, "failures", failures);
        if (t->why[0] != '\0') {
            cli_json_bytes(object, "error", t->why, strlen(t->why));
        }
        cli_json_print(object);
        return code;
    }
    (void)printf("%s: %" PRIu64 " records in %.2f s, %.0f/s", command, t->done_n, seconds,
                 (double)t->done_n / seconds);
    if (t->is_check) {
        (void)printf("; %" PRIu64 " missing, %" PRIu64 " different", missing, t->differ_n);
    }
    (void)printf("%s\n", code == CLI_OK ? "" : ": FAILED");
    if (t->why[0] != '\0') {
        (void)fflush(stdout);
        cli_error("%" PRIu64 " failed; first: %s", t->failed_n, t->why);
    }
    return code;
}

static int transfer(struct cli *c, const char *command, int argc, char **argv)
{
    uint64_t coordinator = 0;
    const struct option_spec specs[] = {
        {"coordinator", "N", "prefer the Nth replica of client.yaml", OPTION_NUMBER, &coordinator,
         1, CLUSTER_MAX, NULL},
        {0},
    };
    struct avo_options options = {.in_flight_max = WINDOW};
    struct transfer *t;
    int rest, code;

    if (!cli_parse(c, &(struct cli_line){command, specs, 1, 1}, argc, argv, &rest, &code)) {
        return code;
    }
    t = calloc(1, sizeof(*t));
    if (t == NULL) {
        return cli_fail_status(c, AVO_NO_MEMORY, NULL);
    }
    t->cli = c;
    t->is_check = strcmp(command, "check") == 0;
    for (t->free_n = 0; t->free_n < WINDOW; t->free_n++) {
        t->free[t->free_n] = (uint16_t)(WINDOW - 1 - t->free_n);
    }
    t->from = strcmp(argv[rest], "-") == 0 ? stdin : fopen(argv[rest], "re");
    if (t->from == NULL) {
        code = cli_fail(c, CLI_USAGE, "USAGE", "cannot open %s: %s", argv[rest], strerror(errno));
        free(t);
        return code;
    }
    options.coordinator = (uint32_t)coordinator;
    t->client = cli_open(c, &options, &code);
    if (t->client != NULL) {
        run(t);
        code = report(t, command);
        avo_close(t->client);
    }
    for (size_t i = 0; i < WINDOW; i++) {
        free(t->slots[i].line);
    }
    if (t->from != stdin) {
        (void)fclose(t->from);
    }
    free(t);
    return code;
}

int cmd_import(struct cli *c, int argc, char **argv)
{
    return transfer(c, "import", argc, argv);
}

int cmd_check(struct cli *c, int argc, char **argv)
{
    return transfer(c, "check", argc, argv);
}
