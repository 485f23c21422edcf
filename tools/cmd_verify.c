// SPDX-License-Identifier: Apache-2.0
/*
 * avocado verify: is this address the CAS of a cluster that runs the code we want? Its evidence is
 * asked for over a nonce of ours, judged, and tied to the key of the TLS channel; then the CA that
 * it names is the cluster's, and ordinary TLS suffices from there on. CAS-2
 */
#include "tools/cli.h"
#include "tools/cmd_attest.h"
#include "tools/verify_files.h"
#include "trusted/crypto/entropy.h"
#include "trusted/evidence/evidence.h"

#include <openssl/crypto.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    TIMEOUT_MS = 10000,
    BUSY_TRIES = 20,
    BUSY_PAUSE_US = 100000,
    POLICY_MAX = 1024,
};

struct verify {
    struct cli *cli;
    const char *address;
    const char *measurement, *ca, *policy, *software, *collateral; /* what is pinned */
    struct verify_wishes files;
    struct https_peer peer;
    uint32_t timeout_ms;
    uint8_t nonce[EVIDENCE_NONCE_LEN], key_hash[EVIDENCE_KEY_HASH_LEN];
    char *ca_pem; /* that the CAS named, or that was pinned */
    /* Judging; too large for a stack. */
    struct attest_files read;
    struct attest_policy wanted;
    struct attest_verdict verdict;
    bool is_judged;
};

/* ---- what is wanted ---- */

static bool is_hex(const char *text, size_t n)
{
    return strlen(text) == n && strspn(text, "0123456789abcdef") == n;
}

/* A policy of one measurement, for every kind of evidence whose measurements are so long. */
static int pin_measurement(struct verify *v)
{
    struct explain why = {{0}};
    char text[POLICY_MAX];

    if (is_hex(v->measurement, 64)) {
        (void)snprintf(text, sizeof(text), "version: 1\nsgx:\n  mrenclave: [%s]\n%s%s%s",
                       v->measurement, v->software == NULL ? "" : "software:\n  mrenclave: [",
                       v->software == NULL ? "" : v->measurement, v->software == NULL ? "" : "]\n");
    } else if (is_hex(v->measurement, 96)) {
        (void)snprintf(text, sizeof(text),
                       "version: 1\nsnp:\n  measurement: [%s]\ntdx:\n  mrtd: [%s]\n",
                       v->measurement, v->measurement);
    } else {
        return cli_fail(v->cli, CLI_USAGE, "USAGE",
                        "--measurement: found '%s', permitted are 64 lower-case hex digits (SGX, "
                        "software) or 96 (SEV-SNP, TDX); see avocado measure",
                        v->measurement);
    }
    if (attest_policy_parse(text, strlen(text), &v->wanted, &why) != OK) {
        return cli_fail(v->cli, CLI_USAGE, "POLICY", "%s", why.text);
    }
    return CLI_OK;
}

static int read_wanted(struct verify *v)
{
    struct explain why = {{0}};

    if (v->measurement != NULL) {
        return pin_measurement(v);
    }
    if (attest_files_policy(v->policy, &v->read, &v->wanted, &why) != OK) {
        return cli_fail(v->cli, CLI_USAGE, "POLICY", "%s", why.text);
    }
    return CLI_OK;
}

/* ---- asking ---- */

static int fail_call(const struct verify *v, enum err err, const struct explain *why)
{
    if (err == ERR_AUTH) {
        return cli_fail(v->cli, CLI_REFUSED, "FORGED", "%s", why->text);
    }
    return cli_fail(v->cli, err == ERR_USAGE ? CLI_USAGE : CLI_UNAVAILABLE, err_name(err), "%s",
                    why->text);
}

/* The JSON of a GET; NULL after cli_fail. */
static json_t *get(struct verify *v, const char *path, struct https_answer *ret, int *ret_code)
{
    const struct https_ask ask = {.method = "GET", .path = path, .timeout_ms = v->timeout_ms};
    struct explain why = {{0}};
    const char *text = NULL;
    json_t *json = NULL;
    enum err err = OK;

    for (int i = 0; i < BUSY_TRIES; i++) {
        err = https_call(&v->peer, &ask, ret, &why);
        if (err != OK || ret->status != 429) {
            break;
        }
        https_answer_free(ret);
        (void)usleep(BUSY_PAUSE_US);
    }
    if (err != OK) {
        *ret_code = fail_call(v, err, &why);
        return NULL;
    }
    json = ret->body == NULL ? NULL : json_loadb(ret->body, ret->body_n, 0, NULL);
    if (json != NULL && ret->status == 200) {
        return json;
    }
    text = json_string_value(json_object_get(json_object_get(json, "error"), "message"));
    *ret_code =
        cli_fail(v->cli, CLI_REFUSED, "NO_EVIDENCE", "who answers at %s %s%s", v->address,
                 text == NULL ? "is no CAS" : "gives no evidence: ", text == NULL ? "" : text);
    json_decref(json);
    https_answer_free(ret);
    return NULL;
}

/* ---- judging ---- */

static int refuse_verdict(const struct verify *v)
{
    const struct attest_failure *f = &v->verdict.failure[0];

    return cli_fail(v->cli, CLI_REFUSED, attest_rule_name(f->rule),
                    "who answers at %s is refused by rule %s: %s; wanted is %s%s", v->address,
                    attest_rule_name(f->rule), f->found, f->wanted,
                    v->verdict.kind == ATTEST_SOFTWARE && v->software == NULL
                        ? "; software evidence proves no hardware, --software ROOT accepts it"
                        : "");
}

/* The two halves of the report data: asked for by us just now, and by the holder of this key. */
static int check_binding(const struct verify *v)
{
    struct bytes data = v->verdict.report_data;

    if (data.n != EVIDENCE_REPORT_DATA_LEN ||
        memcmp(data.p + EVIDENCE_KEY_HASH_LEN, v->nonce, sizeof(v->nonce)) != 0) {
        return cli_fail(v->cli, CLI_REFUSED, "REPLAYED",
                        "forged CAS: who answers at %s shows evidence that was made for somebody "
                        "else, at another time",
                        v->address);
    }
    if (memcmp(data.p, v->key_hash, sizeof(v->key_hash)) != 0) {
        return cli_fail(v->cli, CLI_REFUSED, "RELAYED",
                        "forged CAS: who answers at %s shows evidence of another TLS key than its "
                        "own: it hands on what the real one says",
                        v->address);
    }
    return CLI_OK;
}

static int judge(struct verify *v, const struct evidence *e)
{
    struct attest_input in = {.kind = e->kind,
                              .evidence = evidence_bytes(e),
                              .collateral = e->collateral,
                              .policy = &v->wanted,
                              .now_s = (uint64_t)time(NULL)};
    struct bytes root = {0};
    struct explain why = {{0}};
    enum err err = OK;

    attest_roots_vendor(e->kind, &in.roots);
    if (v->collateral != NULL) {
        err = attest_files_collateral(v->collateral, &v->read, &in.collateral, &why);
    }
    if (err == OK && e->kind == ATTEST_SOFTWARE && v->software != NULL) {
        err = attest_files_evidence(v->software, &v->read, &root, &why);
        if (err == OK && attest_roots_add(&in.roots, root) != OK) {
            (void)snprintf(why.text, sizeof(why.text), "%s: no certificate", v->software);
            err = ERR_MALFORMED;
        }
    }
    if (err != OK) {
        return cli_fail(v->cli, CLI_USAGE, err_name(err), "%s", why.text);
    }
    attest_verify(&in, &v->verdict);
    v->is_judged = true;
    return v->verdict.accepted ? check_binding(v) : refuse_verdict(v);
}

/* Evidence over a nonce of ours; if it holds, whoever answers names the cluster's CA. */
static int by_evidence(struct verify *v)
{
    char path[64 + 2 * EVIDENCE_NONCE_LEN];
    struct https_answer answer = {0};
    struct evidence e = {0};
    struct explain why = {{0}};
    const char *ca = NULL;
    json_t *json = NULL;
    int code = read_wanted(v), n = 0;

    if (code != CLI_OK) {
        return code;
    }
    entropy_fill(v->nonce, sizeof(v->nonce));
    n = snprintf(path, sizeof(path), "/v1/evidence?nonce=");
    for (size_t i = 0; i < sizeof(v->nonce); i++) {
        n += snprintf(path + n, sizeof(path) - (size_t)n, "%02x", v->nonce[i]);
    }
    json = get(v, path, &answer, &code);
    if (json == NULL) {
        return code;
    }
    memcpy(v->key_hash, answer.key_hash, sizeof(v->key_hash));
    ca = json_string_value(json_object_get(json, "ca"));
    if (ca == NULL || evidence_from_json(json_object_get(json, "evidence"), &e, &why) != OK) {
        code = cli_fail(v->cli, CLI_REFUSED, "MALFORMED", "who answers at %s is no CAS: %s",
                        v->address, why.text);
    } else {
        code = judge(v, &e);
        v->ca_pem = code == CLI_OK ? strdup(ca) : NULL;
    }
    evidence_free(&e);
    json_decref(json);
    https_answer_free(&answer);
    return code;
}

/* The CA is known: has it certified who answers? With evidence the key must be the one it names. */
static int by_ca(struct verify *v, json_t **ret_health)
{
    struct https_answer answer = {0};
    int code = CLI_OK;

    v->peer.ca_pem = v->ca_pem;
    v->peer.key_hash = v->is_judged ? v->key_hash : NULL;
    *ret_health = get(v, "/v1/health", &answer, &code);
    v->peer.key_hash = NULL;
    https_answer_free(&answer);
    return code;
}

/* ---- the command ---- */

static int report(const struct verify *v, const json_t *health, const struct verify_written *w)
{
    const char *kind = v->is_judged ? attest_kind_name(v->verdict.kind) : "none";
    const char *cluster = json_string_value(json_object_get(health, "cluster"));
    bool is_protected = v->is_judged && v->verdict.kind != ATTEST_SOFTWARE;
    json_t *o;

    if (v->cli->json) {
        o = json_pack("{s:s,s:s,s:s,s:b,s:O?}", "status", "OK", "cas", v->address, "evidence", kind,
                      "protected", is_protected, "epoch", json_object_get(health, "epoch"));
        cli_json_bytes(o, "cluster", cluster == NULL ? "" : cluster,
                       cluster == NULL ? 0 : strlen(cluster));
        verify_files_json(w, o);
        cli_json_print(o);
        return CLI_OK;
    }
    (void)printf("%s is the CAS of cluster %s: %s\n", v->address, cluster == NULL ? "?" : cluster,
                 v->is_judged ? "its evidence holds, and is bound to its key and to this moment"
                              : "its certificate is of the CA that you gave");
    if (!is_protected) {
        (void)puts(v->is_judged
                       ? "SOFTWARE, NOT PROTECTED: no hardware vouches for it."
                       : "What it runs was not looked at: --measurement or --policy does that.");
    }
    verify_files_print(w);
    return CLI_OK;
}

static int go(struct verify *v)
{
    struct verify_written written = {0};
    struct explain why = {{0}};
    json_t *health = NULL;
    enum err err = https_peer_parse(v->address, &v->peer, &why);
    int code;

    if (err == OK && v->ca != NULL) {
        err = verify_files_read(v->ca, &v->ca_pem, &why);
    }
    if (err != OK) {
        return cli_fail(v->cli, CLI_USAGE, "USAGE", "%s", why.text);
    }
    code = v->ca == NULL || v->measurement != NULL || v->policy != NULL ? by_evidence(v) : CLI_OK;
    if (code == CLI_OK) {
        code = by_ca(v, &health);
    }
    if (code == CLI_OK && v->files.out != NULL) {
        v->files.ca_pem = v->ca_pem;
        v->files.peer = &v->peer;
        v->files.timeout_ms = v->timeout_ms;
        err = verify_files_write(&v->files, &written, &why);
        if (err != OK) {
            code = cli_fail(v->cli,
                            err == ERR_POLICY || err == ERR_AUTH ? CLI_REFUSED
                            : err == ERR_UNAVAILABLE             ? CLI_UNAVAILABLE
                                                                 : CLI_USAGE,
                            err_name(err), "%s", why.text);
        }
    }
    if (code == CLI_OK) {
        code = report(v, health, &written);
    }
    json_decref(health);
    return code;
}

static int check_line(struct verify *v)
{
    const struct verify_wishes *f = &v->files;

    if (v->measurement == NULL && v->policy == NULL && v->ca == NULL) {
        return cli_fail(v->cli, CLI_USAGE, "USAGE",
                        "say whom to trust: --measurement, --policy or --ca; see avocado verify "
                        "--help");
    }
    if (v->measurement != NULL && v->policy != NULL) {
        return cli_fail(v->cli, CLI_USAGE, "USAGE", "give --measurement or --policy, not both");
    }
    if ((f->owner_key != NULL || f->request != NULL) && f->out == NULL) {
        return cli_fail(v->cli, CLI_USAGE, "USAGE", "--owner-key and --request need --out");
    }
    if (f->request != NULL && f->owner_key == NULL) {
        return cli_fail(v->cli, CLI_USAGE, "USAGE", "--request needs --owner-key");
    }
    return CLI_OK;
}

int cmd_verify(struct cli *c, int argc, char **argv)
{
    struct verify *v = calloc(1, sizeof(*v));
    int rest, code;

    if (v == NULL) {
        return cli_fail_status(c, AVO_NO_MEMORY, NULL);
    }
    v->cli = c;
    v->files.client = "client";
    const struct option_spec specs[] = {
        {"measurement", "HEX", "what the CAS must be measured as (avocado measure avocado-cas)",
         OPTION_TEXT, &v->measurement, 0, 0, NULL},
        {"policy", "FILE",
         "or a policy of evidence that it must meet (docs/protocol/attestation.md)", OPTION_TEXT,
         &v->policy, 0, 0, NULL},
        {"ca", "FILE", "or the cluster's CA, if it is known already: no evidence is needed then",
         OPTION_TEXT, &v->ca, 0, 0, NULL},
        {"software", "FILE", "accept software evidence under this root: not protected", OPTION_TEXT,
         &v->software, 0, 0, NULL},
        {"collateral", "DIR", "the vendor's statements, if the CAS sends none", OPTION_TEXT,
         &v->collateral, 0, 0, NULL},
        {"out", "FILE", "write a client.yaml there, and CA, key and certificate beside it",
         OPTION_TEXT, &v->files.out, 0, 0, NULL},
        {"client", "NAME", "of the client that they are for (default client)", OPTION_TEXT,
         &v->files.client, 0, 0, NULL},
        {"owner-key", "FILE",
         "the owner's key, to order the certificate at once; else a request "
         "for the owner is written",
         OPTION_TEXT, &v->files.owner_key, 0, 0, NULL},
        {"request", "FILE", "order the certificate for this request instead of a new key",
         OPTION_TEXT, &v->files.request, 0, 0, NULL},
        {0},
    };

    if (cli_parse(c, &(struct cli_line){"verify", specs, 1, 1}, argc, argv, &rest, &code)) {
        v->address = argv[rest];
        v->timeout_ms = c->timeout_ms == 0 ? TIMEOUT_MS : (uint32_t)c->timeout_ms;
        code = check_line(v);
        if (code == CLI_OK) {
            code = go(v);
        }
    }
    attest_files_free(&v->read);
    free(v->ca_pem);
    free(v);
    return code;
}
