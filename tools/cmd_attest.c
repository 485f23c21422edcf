// SPDX-License-Identifier: Apache-2.0
/* avocado attest: explains and verifies evidence, offline. docs/man/avocado-attest.1 */
#include "tools/cmd_attest.h"

#include "tools/cli.h"
#include "trusted/attest/attest_explain.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct wishes {
    const char *kind, *evidence, *collateral, *roots, *policy, *at;
    uint64_t days;
    bool renew;
};

enum { DAYS_DEFAULT = 3650, DAYS_MAX = 36500 };

/* Too large for a stack. */
struct work {
    struct attest_files files;
    struct attest_input in;
    struct attest_policy policy;
    struct attest_verdict verdict;
};

static int show(const struct cli *c, const char *path)
{
    struct attest_files files = {0};
    struct bytes evidence = {0};
    struct explain why = {{0}};
    char *text = NULL;
    int code = CLI_OK;

    if (attest_files_evidence(path, &files, &evidence, &why) != OK) {
        code = cli_fail(c, CLI_USAGE, "IO", "%s", why.text);
    } else if (attest_explain_evidence(evidence, c->json ? ATTEST_FORM_JSON : ATTEST_FORM_TEXT,
                                       &text, &why) != OK) {
        code = cli_fail(c, CLI_USAGE, "MALFORMED", "%s: %s", path, why.text);
    } else {
        (void)printf("%s%s", text, c->json ? "\n" : "");
    }
    free(text);
    attest_files_free(&files);
    return code;
}

/* Reads everything that the wishes name; 0, or the exit code after cli_fail. */
static int load(const struct cli *c, const struct wishes *w, struct work *to)
{
    struct explain why = {{0}};
    enum err err = OK;

    if (w->at == NULL) {
        to->in.now_s = (uint64_t)time(NULL);
    } else if (attest_files_time(w->at, &to->in.now_s) != OK) {
        return cli_fail(c, CLI_USAGE, "USAGE",
                        "--at: found '%s', permitted is a time such as 2026-03-01T12:00:00Z",
                        w->at);
    }
    attest_roots_vendor(to->in.kind, &to->in.roots);
    if (w->roots != NULL) {
        err = attest_files_roots(w->roots, &to->in.roots, &why);
    }
    if (err == OK && w->policy != NULL) {
        err = attest_files_policy(w->policy, &to->files, &to->policy, &why);
        to->in.policy = &to->policy;
    }
    if (err == OK) {
        err = attest_files_collateral(w->collateral, &to->files, &to->in.collateral, &why);
    }
    if (err == OK) {
        err = attest_files_evidence(w->evidence, &to->files, &to->in.evidence, &why);
    }
    return err == OK ? CLI_OK : cli_fail(c, CLI_USAGE, err_name(err), "%s", why.text);
}

static int verify(const struct cli *c, const struct wishes *w, struct work *work)
{
    char *text = NULL;
    int code;

    if (w->kind == NULL || w->evidence == NULL || w->collateral == NULL) {
        return cli_fail(c, CLI_USAGE, "USAGE",
                        "attest verify needs --kind, --evidence and --collateral");
    }
    if (!attest_kind_parse(w->kind, &work->in.kind)) {
        return cli_fail(c, CLI_USAGE, "USAGE",
                        "--kind: found '%s', permitted are sgx, tdx, snp and software", w->kind);
    }
    if (work->in.kind == ATTEST_SOFTWARE && w->roots == NULL) {
        return cli_fail(c, CLI_USAGE, "USAGE",
                        "software evidence has no vendor: give the deployment's root with --roots");
    }
    code = load(c, w, work);
    if (code != CLI_OK) {
        return code;
    }
    attest_verify(&work->in, &work->verdict);
    text = attest_explain_verdict(&work->verdict, c->json ? ATTEST_FORM_JSON : ATTEST_FORM_TEXT);
    if (text == NULL) {
        return cli_fail(c, CLI_UNAVAILABLE, "IO", "out of memory");
    }
    (void)printf("%s%s", text, c->json ? "\n" : "");
    free(text);
    return work->verdict.accepted ? CLI_OK : CLI_REFUSED;
}

static int verify_in_heap(const struct cli *c, const struct wishes *w)
{
    struct work *work = calloc(1, sizeof(*work));
    int code;

    if (work == NULL) {
        return cli_fail(c, CLI_UNAVAILABLE, "IO", "out of memory");
    }
    code = verify(c, w, work);
    attest_files_free(&work->files);
    free(work);
    return code;
}

static int found(const struct cli *c, const struct wishes *w, const char *dir)
{
    struct attest_found_wishes wishes = {.days = (uint32_t)w->days, .renew = w->renew};
    struct explain why = {{0}};
    bool renewed = false;
    enum err err = attest_found(dir, &wishes, &renewed, &why);

    if (err != OK) {
        return cli_fail(c, err == ERR_POLICY ? CLI_REFUSED : CLI_UNAVAILABLE, err_name(err), "%s",
                        why.text);
    }
    if (c->json) {
        json_t *object = json_pack("{s:s,s:b}", "status", "OK", "renewed", renewed);

        cli_json_bytes(object, "dir", dir, strlen(dir));
        cli_json_print(object);
        return CLI_OK;
    }
    (void)printf("%s for software evidence in %s: proves no hardware\n",
                 renewed ? "a new platform under the same root" : "a root and a platform", dir);
    (void)printf("  processes make evidence with  --evidence software:%s/platform\n", dir);
    (void)printf("  verifiers trust               --roots %s/root\n", dir);
    return CLI_OK;
}

/* Options of `verify` alone. */
static bool has_verify_options(const struct wishes *w)
{
    return w->kind != NULL || w->evidence != NULL || w->collateral != NULL || w->roots != NULL ||
           w->policy != NULL || w->at != NULL;
}

int cmd_attest(struct cli *c, int argc, char **argv)
{
    struct wishes w = {.days = DAYS_DEFAULT};
    const struct option_spec specs[] = {
        {"kind", "KIND", "sgx, tdx, snp or software", OPTION_TEXT, &w.kind, 0, 0, NULL},
        {"evidence", "FILE", "the quote or report", OPTION_TEXT, &w.evidence, 0, 0, NULL},
        {"collateral", "DIR", "folder with certificates, lists and statements", OPTION_TEXT,
         &w.collateral, 0, 0, NULL},
        {"roots", "DIR", "trust these root certificates instead of the vendors'", OPTION_TEXT,
         &w.roots, 0, 0, NULL},
        {"policy", "FILE", "also judge TCB status, debugging, measurements", OPTION_TEXT, &w.policy,
         0, 0, NULL},
        {"at", "TIME", "judge at this time, as 2026-03-01T12:00:00Z (default: now)", OPTION_TEXT,
         &w.at, 0, 0, NULL},
        {"days", "N", "found: how long certificates and statements hold (default 3650)",
         OPTION_NUMBER, &w.days, 1, DAYS_MAX, NULL},
        {"renew", NULL, "found: everything anew under the root that is there", OPTION_FLAG,
         &w.renew, 0, 0, NULL},
        {0},
    };
    int rest, code;

    if (!cli_parse(c, &(struct cli_line){"attest", specs, 1, 2}, argc, argv, &rest, &code)) {
        return code;
    }
    if (strcmp(argv[rest], "show") == 0 && argc - rest == 2) {
        if (has_verify_options(&w)) {
            return cli_fail(c, CLI_USAGE, "USAGE", "attest show takes a file and no option");
        }
        return show(c, argv[rest + 1]);
    }
    if (strcmp(argv[rest], "verify") == 0 && argc - rest == 1) {
        return verify_in_heap(c, &w);
    }
    if (strcmp(argv[rest], "found") == 0 && argc - rest == 2) {
        if (has_verify_options(&w)) {
            return cli_fail(c, CLI_USAGE, "USAGE",
                            "attest found takes a folder, --days and --renew");
        }
        return found(c, &w, argv[rest + 1]);
    }
    return cli_fail(c, CLI_USAGE, "USAGE",
                    "usage: avocado attest show FILE | avocado attest found DIR [--days N] "
                    "[--renew] | avocado attest verify --kind KIND "
                    "--evidence FILE --collateral DIR [--roots DIR] [--policy FILE] [--at TIME]");
}
