// SPDX-License-Identifier: Apache-2.0
#ifndef TOOLS_CLI_H
#define TOOLS_CLI_H

/*
 * What the commands of `avocado` share: options that every command takes, exit codes, one-line
 * errors, and JSON that holds any bytes.
 */

#include "client/avocado.h"
#include "tools/options.h"

#include <jansson.h>
#include <limits.h>

static const char cli_default_dir[] = "./avocado-data";

/* Exit codes; docs/man/avocado.1. */
enum {
    CLI_OK = 0,
    CLI_NOT_FOUND = 1,
    CLI_USAGE = 2,
    CLI_UNAVAILABLE = 3,
    CLI_INDETERMINATE = 4,
    CLI_REFUSED = 5,
    CLI_INTEGRITY = 6,
};

/* What every command accepts. */
struct cli {
    const char *cluster; /* path of client.yaml; NULL: $AVOCADO_CLUSTER, then the default */
    uint64_t timeout_ms; /* 0: the command's default */
    bool json, help;
};

struct cli_command {
    const char *name;
    const char *synopsis; /* operands and options of the first line of its help */
    const char *summary;  /* one line */
    int (*run)(struct cli *c, int argc, char **argv);
};

/* The commands, ended by a NULL name; `cli_command_named` may return NULL. */
extern const struct cli_command cli_commands[];
const struct cli_command *cli_command_named(const char *name);

/* The rows for what every command accepts: fills `to`, returns how many. */
enum { CLI_COMMON_OPTIONS = 4 };
int cli_common_options(struct cli *c, struct option_spec to[static CLI_COMMON_OPTIONS]);

/* One command's own line: its options besides the common ones (NULL: none), and how many operands
 * it takes. */
struct cli_line {
    const char *command;
    const struct option_spec *specs;
    int operands_min, operands_max;
};
/* True: go on, operands start at argv[*ret_rest]. False: *ret_exit is what to return; help was
 * shown or a usage error reported. */
bool cli_parse(struct cli *c, const struct cli_line *line, int argc, char **argv, int *ret_rest,
               int *ret_exit);

/* "avocado: ..." on standard error, one line. Control characters become '?'. */
__attribute__((format(printf, 1, 2))) void cli_error(const char *format, ...);
/* The same, or a JSON object on standard output when asked for, with a stable name; returns `code`.
 */
__attribute__((format(printf, 4, 5))) int cli_fail(const struct cli *c, int code, const char *name,
                                                   const char *format, ...);
/* cli_fail for a status of the library; `text` is its line, or NULL for the status's own. */
int cli_fail_status(const struct cli *c, enum avo_status status, const char *text);

/* The exit code for a status. */
int cli_exit_of(enum avo_status status);

/* Opens the cluster that `c` names; NULL after cli_fail_status with *ret_exit. */
struct avo_client *cli_open(const struct cli *c, const struct avo_options *more, int *ret_exit);
const char *cli_cluster_path(const struct cli *c);

/* Milliseconds of a clock that only goes forward. */
uint64_t cli_now_ms(void);

/* Sets `name` to a string, or `name_hex` when the bytes are not UTF-8 text. */
void cli_json_bytes(json_t *object, const char *name, const void *p, size_t n);
/* Prints the object on one line and gives it up. */
void cli_json_print(json_t *object);

/* Bytes of hexadecimal text: malloc'ed; NULL if it is none. */
uint8_t *cli_from_hex(const char *text, size_t *ret_n);

int cmd_put(struct cli *c, int argc, char **argv);
int cmd_get(struct cli *c, int argc, char **argv);
int cmd_del(struct cli *c, int argc, char **argv);
/* cas, putnx, incr, append, getset, delif: argv[0] says which. */
int cmd_rmw(struct cli *c, int argc, char **argv);
int cmd_mget(struct cli *c, int argc, char **argv);
int cmd_mput(struct cli *c, int argc, char **argv);
int cmd_scan(struct cli *c, int argc, char **argv);
int cmd_import(struct cli *c, int argc, char **argv);
int cmd_check(struct cli *c, int argc, char **argv);
int cmd_up(struct cli *c, int argc, char **argv);
int cmd_down(struct cli *c, int argc, char **argv);
int cmd_status(struct cli *c, int argc, char **argv);
int cmd_attest(struct cli *c, int argc, char **argv);
int cmd_doctor(struct cli *c, int argc, char **argv);
int cmd_measure(struct cli *c, int argc, char **argv);
int cmd_member(struct cli *c, int argc, char **argv);
int cmd_policy(struct cli *c, int argc, char **argv);
int cmd_verify(struct cli *c, int argc, char **argv);
int cmd_supervise(struct cli *c, int argc, char **argv);

/* A program of ours: beside this one, else where the shell would find it. */
bool cli_find_program(const char *name, char to[static PATH_MAX]);

#endif
