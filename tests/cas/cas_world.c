// SPDX-License-Identifier: Apache-2.0
#include "tests/cas/cas_world.h"

#include "common/check.h"
#include "trusted/https/https.h"

#include <openssl/pem.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char hex_replica[] =
    "a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5";
static const char hex_las[] = "1111111111111111111111111111111111111111111111111111111111111111";

static const char policy_text[] =
    "version: 1\n"
    "policy: %u\n"
    "certificate_lifetime: 24h\n"
    "software_roots: [\"%s\"]\n"
    "configuration: |\n"
    "  version: 1\n"
    "  cluster: \"a102030405060708090a0b0c0d0e0f10\"\n"
    "  name: \"unit\"\n"
    "  epoch: 1\n"
    "  replication_factor: 3\n"
    "  shards: 1\n"
    "  members:\n"
    "    - {node: 1, incarnation: 1, address: 127.0.0.1, control_port: 7101, data_port: 7201}\n"
    "    - {node: 2, incarnation: 2, address: 127.0.0.1, control_port: 7102, data_port: 7202}\n"
    "    - {node: 3, incarnation: 3, address: 127.0.0.1, control_port: 7103, data_port: 7203}\n"
    "roles:\n"
    "  - role: replica\n"
    "    las: allowed\n"
    "    evidence: |\n"
    "      version: 1\n"
    "      software:\n"
    "        mrenclave: [%s]\n"
    "%s"
    "  - role: las\n"
    "    evidence: |\n"
    "      version: 1\n"
    "      software:\n"
    "        mrenclave: [%s]\n"
    "clients:\n"
    "  - client: web\n"
    "  - client: audit\n"
    "    client_role: reader\n"
    "client_roles:\n"
    "  - client_role: reader\n"
    "    may: [\"read,scan:a/\", \"%s:log/%%25\"]\n"
    "secrets:\n"
    "  - secret: pepper\n"
    "    recipients: replica\n"
    "    value: \"white\"\n";

static void pin_of(const struct software_files *files, char to[static 65])
{
    struct attest_roots roots = {0};

    CHECK(attest_roots_add(&roots, software_file_get(files, "root_ca.pem")) == OK);
    for (size_t i = 0; i < ATTEST_PIN_LEN; i++) {
        (void)snprintf(to + 2 * i, 3, "%02x", (unsigned)roots.pin[0][i]);
    }
}

char *world_policy(const struct cas_world *w, unsigned version, const char *rules)
{
    char pin[65], *text = NULL;

    pin_of(&w->files, pin);
    CHECK(asprintf(&text, policy_text, version, pin, hex_replica, rules, hex_las,
                   version == 1 ? "read" : "read,write") > 0);
    return text;
}

static void open_store(struct cas_world *w, bool create)
{
    struct cas_store_options o = {w->path, w->anchor, &w->key, create};
    struct explain why = {0};

    if (cas_store_open(&o, &w->store, &why) != OK) {
        (void)fprintf(stderr, "%s\n", why.text);
        CHECK(false);
    }
}

static void found(struct cas_world *w)
{
    struct explain why = {0};
    char *policy = world_policy(w, 1, ""), *owner = NULL;
    struct cas_founding f = {.policy = policy, .policy_n = strlen(policy), .now_s = w->now_s};
    BIO *bio = BIO_new(BIO_s_mem());
    long n;

    CHECK(bio != NULL && PEM_write_bio_PUBKEY(bio, w->owner) == 1);
    n = BIO_get_mem_data(bio, &owner);
    owner = strndup(owner, (size_t)n);
    f.owner_key_pem = owner;
    open_store(w, true);
    if (cas_found(&f, w->store, &w->cas, &why) != OK) {
        (void)fprintf(stderr, "%s\n", why.text);
        CHECK(false);
    }
    BIO_free(bio);
    free(owner);
    free(policy);
}

void world_start(struct cas_world *w)
{
    struct software_wishes wishes = {
        .now_s = WORLD_NOW_S, .days = 30, .platform_svn = SOFTWARE_SVN, .evaluation = 1};
    struct explain why = {0};

    *w = (struct cas_world){.now_s = WORLD_NOW_S};
    memset(w->key.b, 7, sizeof(w->key.b));
    (void)snprintf(w->dir, sizeof(w->dir), "/tmp/avocado-cas-XXXXXX");
    CHECK(mkdtemp(w->dir) != NULL);
    (void)snprintf(w->path, sizeof(w->path), "%s/cas.db", w->dir);
    (void)snprintf(w->anchor, sizeof(w->anchor), "%s/anchor", w->dir);
    CHECK(software_found(&wishes, &w->files, &why) == OK);
    CHECK(software_platform_open(software_file_get(&w->files, "pck_chain.pem"),
                                 software_file_get(&w->files, "pck_key.pem"), &w->platform,
                                 &why) == OK);
    CHECK(https_new_key(&w->owner, &w->owner_cert, &why) == OK);
    found(w);
}

void world_restart(struct cas_world *w)
{
    struct explain why = {0};

    cas_free(w->cas);
    cas_store_close(w->store);
    open_store(w, false);
    if (cas_load(w->store, &w->cas, &why) != OK) {
        (void)fprintf(stderr, "%s\n", why.text);
        CHECK(false);
    }
}

void world_end(struct cas_world *w)
{
    cas_free(w->cas);
    cas_store_close(w->store);
    software_platform_close(w->platform);
    software_files_free(&w->files);
    json_decref(w->answer);
    EVP_PKEY_free(w->owner);
    X509_free(w->owner_cert);
    (void)unlink(w->path);
    (void)unlink(w->anchor);
    (void)rmdir(w->dir);
}

struct process process_new(void)
{
    struct process p = {0};
    struct explain why = {0};

    CHECK(https_new_key(&p.key, &p.cert, &why) == OK);
    CHECK(https_key_hash(p.cert, p.key_hash) == OK);
    return p;
}

void process_end(struct process *p)
{
    EVP_PKEY_free(p->key);
    X509_free(p->cert);
}

struct software_body world_body(const struct process *p, const uint8_t *nonce)
{
    struct software_body body = {.isvprodid = 1, .isvsvn = 1};

    memset(body.mrenclave, 0xa5, sizeof(body.mrenclave));
    memcpy(body.report_data, p->key_hash, 32);
    memcpy(body.report_data + 32, nonce, 32);
    return body;
}

void world_ask(struct cas_world *w, const struct process *p, const char *method, const char *path,
               json_t *body)
{
    char *text = body == NULL ? NULL : json_dumps(body, 0);
    struct cas_request r = {.method = method,
                            .path = path,
                            .query = w->query == NULL ? "" : w->query,
                            .body = {(uint8_t *)text, text == NULL ? 0 : strlen(text)},
                            .peer = p == NULL ? NULL : p->cert,
                            .now_s = w->now_s};
    struct cas_response answer;

    cas_handle(w->cas, &r, &answer);
    json_decref(w->answer);
    w->answer = answer.body;
    w->status = answer.status;
    json_decref(body);
    free(text);
}

void world_nonce(struct cas_world *w, const struct process *p, uint8_t ret[static 32])
{
    const char *hex;

    world_ask(w, p, "POST", "/v1/challenge", json_object());
    CHECK(w->status == 200);
    hex = json_string_value(json_object_get(w->answer, "nonce"));
    for (size_t i = 0; i < 32; i++) {
        const char digits[3] = {hex[2 * i], hex[2 * i + 1]};

        ret[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
}

struct software_body world_challenged(struct cas_world *w, const struct process *asker,
                                      const struct process *prover)
{
    uint8_t nonce[32];

    world_nonce(w, asker, nonce);
    return world_body(prover, nonce);
}

json_t *world_evidence(const struct cas_world *w, const struct software_body *body)
{
    static const char *const names[] = {"tcb_info.json", "qe_identity.json",
                                        "tcb_signing_chain.pem", "pck_crl.der", "root_ca_crl.der"};
    json_t *json = json_object(), *files = json_object();
    struct explain why = {0};
    uint8_t *quote = NULL;
    size_t n = 0;
    char *text;

    CHECK(software_quote(w->platform, body, &quote, &n, &why) == OK);
    text = evidence_base64((struct bytes){quote, n});
    (void)json_object_set_new(json, "kind", json_string("software"));
    (void)json_object_set_new(json, "evidence", json_string(text));
    free(text);
    free(quote);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        text = evidence_base64(software_file_get(&w->files, names[i]));
        (void)json_object_set_new(files, names[i], json_string(text));
        free(text);
    }
    (void)json_object_set_new(json, "collateral", files);
    return json;
}

void world_join(struct cas_world *w, const struct process *p, uint32_t node,
                const struct software_body *body)
{
    world_ask(w, p, "POST", "/v1/join",
              json_pack("{s:s,s:i,s:o}", "role", "replica", "node", (int)node, "evidence",
                        world_evidence(w, body)));
}

const char *world_code(const struct cas_world *w)
{
    const char *code =
        json_string_value(json_object_get(json_object_get(w->answer, "error"), "code"));

    return code == NULL ? "OK" : code;
}

const char *world_message(const struct cas_world *w)
{
    const char *text =
        json_string_value(json_object_get(json_object_get(w->answer, "error"), "message"));

    return text == NULL ? "" : text;
}

void world_expect(const struct cas_world *w, const char *code, const char *part)
{
    if (strcmp(world_code(w), code) != 0 || strstr(world_message(w), part) == NULL) {
        (void)fprintf(stderr, "expected %s with '%s', got %s: %s\n", code, part, world_code(w),
                      world_message(w));
        CHECK(false);
    }
}

void process_use_certificate(struct process *p, const struct cas_world *w)
{
    const char *pem = json_string_value(json_object_get(w->answer, "certificate"));
    BIO *bio = BIO_new_mem_buf(pem, -1);

    X509_free(p->cert);
    p->cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    CHECK(p->cert != NULL);
    BIO_free(bio);
}

json_t *process_key_json(const struct process *p, const char *name)
{
    unsigned char *der = NULL;
    int n = i2d_PUBKEY(p->key, &der);
    char *text = evidence_base64((struct bytes){der, (size_t)n});
    json_t *body = json_pack("{s:s}", "key", text);

    if (name != NULL) {
        (void)json_object_set_new(body, "name", json_string(name));
    }
    free(text);
    OPENSSL_free(der);
    return body;
}

void world_ask_policy(struct cas_world *w, unsigned version, const char *rules)
{
    struct process owner = {.key = w->owner, .cert = w->owner_cert};
    char *text = world_policy(w, version, rules);

    world_ask(w, &owner, "POST", "/v1/policy", json_pack("{s:s}", "policy", text));
    free(text);
}

struct process world_join_well(struct cas_world *w, uint32_t node)
{
    struct process p = process_new();
    struct software_body body = world_challenged(w, &p, &p);

    world_join(w, &p, node, &body);
    return p;
}
