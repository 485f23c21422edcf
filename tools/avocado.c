// SPDX-License-Identifier: Apache-2.0
/*
 * The command line of Avocado: founds and stops clusters on this machine, and reads and writes keys
 * of any cluster that a client.yaml describes. Options of the program may stand before or after the
 * command. docs/man/avocado.1
 */
#include "tools/cli.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

const struct cli_command cli_commands[] = {
    {"up", "[--dir D] [--nodes N] [OPTION...]",
     "Starts a cluster of N replicas on this machine, in software mode: NOT PROTECTED.", cmd_up},
    {"down", "[--dir D]",
     "Stops the cluster in D. Its data is in the replicas' memory and ends with them.", cmd_down},
    {"status", "[--dir D | --cluster FILE]",
     "Shows every node. Exit code 0 if a majority is up, else 3.", cmd_status},
    {"member", "list | add [N] | remove N | replace N [BY] | factor R | accept-loss",
     "Shows or changes who belongs to the cluster in --dir, while it serves.", cmd_member},
    {"policy", "show | set FILE | revoke CLIENT | audit",
     "Shows or replaces the rules of the CAS of the cluster in --dir; revokes; shows what was "
     "done.",
     cmd_policy},
    {"verify", "CAS_ADDRESS --measurement HEX | --policy FILE | --ca FILE [--out client.yaml]",
     "Is this the CAS of a cluster that runs what we want? Stores its CA and a client's identity.",
     cmd_verify},
    {"supervise", "[--dir D] [--restart yes|no]",
     "Keeps the members of a cluster on this machine running; 'up' starts it.", cmd_supervise},
    {"put", "[--key-hex] KEY VALUE | KEY - | --value-file FILE KEY",
     "Writes a value; '-' reads it from standard input.", cmd_put},
    {"get", "[--key-hex] KEY",
     "Prints the value, byte for byte; a newline is added only on a terminal.", cmd_get},
    {"del", "[--key-hex] KEY", "Deletes a key; also succeeds when there is none.", cmd_del},
    {"cas", "[--key-hex] KEY OLD NEW",
     "Writes NEW if the key holds OLD. Exit code 1 if it does not: nothing was done.", cmd_rmw},
    {"putnx", "[--key-hex] KEY VALUE", "Writes the value if there is none; else exit code 1.",
     cmd_rmw},
    {"incr", "[--key-hex] KEY [N]", "Adds N (1; may be negative) and prints the sum.", cmd_rmw},
    {"append", "[--key-hex] KEY VALUE", "Writes behind the value; prints the new length.", cmd_rmw},
    {"getset", "[--key-hex] KEY VALUE", "Writes the value and prints the one before, if any.",
     cmd_rmw},
    {"delif", "[--key-hex] KEY OLD", "Deletes the key if it holds OLD; else exit code 1.", cmd_rmw},
    {"mget", "[--key-hex] KEY...", "Prints KEY<tab>VALUE for every key that there is.", cmd_mget},
    {"mput", "[--key-hex] KEY VALUE [KEY VALUE]...",
     "Writes several keys, each by itself: all, some or none may succeed.", cmd_mput},
    {"scan", "[START [END]] [--prefix P] [--limit N] [--reverse] [--values] [--cursor C]",
     "Prints the keys from START up to, but not, END in bytewise order.", cmd_scan},
    {"import", "[--coordinator N] FILE",
     "Writes every line KEY<tab>VALUE of FILE, many at a time; '-' is standard input. "
     "Keys must differ.",
     cmd_import},
    {"check", "[--coordinator N] FILE",
     "Reads every key of such a FILE and compares; exit code 1 if one is missing or differs.",
     cmd_check},
    {"attest", "show FILE | verify --kind KIND --evidence FILE --collateral DIR [OPTION...]",
     "Explains evidence of a TEE, or verifies it offline; exit code 5 if a rule fails.",
     cmd_attest},
    {"measure", "FILE...",
     "Prints what a policy must name for programs and SGX enclaves (SIGSTRUCT files).",
     cmd_measure},
    {"doctor", "[--for software|sgx|snp|tdx]",
     "Explains what this machine offers, and what is missing for each TEE.", cmd_doctor},
    {NULL, NULL, NULL, NULL},
};

static void print_usage(const struct option_spec *specs)
{
    (void)puts("usage: avocado [OPTION...] COMMAND [OPTION...] [OPERAND...]\n");
    for (const struct cli_command *c = cli_commands; c->name != NULL; c++) {
        (void)printf("  %-8s %s\n", c->name, c->summary);
    }
    (void)puts("\nOptions, before or after the command ('avocado COMMAND --help' shows more):");
    options_print(specs);
    (void)puts("\nExit codes: 0 done, 1 no such key or compare failed, 2 wrong usage, 3 "
               "unavailable, 4 outcome "
               "unknown,\n5 refused, 6 integrity.");
}

int main(int argc, char **argv)
{
    struct cli c = {0};
    bool version = false;
    struct option_spec specs[CLI_COMMON_OPTIONS + 2] = {0};
    const struct cli_command *command;
    struct option_error why;
    int rest, code;

    (void)signal(SIGPIPE, SIG_IGN);
    specs[cli_common_options(&c, specs)] = (struct option_spec){
        "version", NULL, "print the version", OPTION_FLAG, &version, 0, 0, NULL};
    if (!options_parse(argc, argv, specs, true, &rest, &why)) {
        return cli_fail(&c, CLI_USAGE, "USAGE", "%s; see avocado --help", why.text);
    }
    if (version) {
        (void)printf("avocado %s\n", avo_version());
        return CLI_OK;
    }
    if (c.help || (rest < argc && strcmp(argv[rest], "help") == 0)) {
        print_usage(specs);
        return CLI_OK;
    }
    if (rest == argc) {
        print_usage(specs);
        return CLI_USAGE;
    }
    command = cli_command_named(argv[rest]);
    if (command == NULL) {
        return cli_fail(&c, CLI_USAGE, "USAGE", "no command '%s'; see avocado --help", argv[rest]);
    }
    code = command->run(&c, argc - rest, argv + rest);
    /* Output that nobody could read must not look like success. */
    if (fflush(stdout) != 0 || ferror(stdout)) {
        cli_error("standard output could not be written");
        return code == CLI_OK ? CLI_UNAVAILABLE : code;
    }
    return code;
}
