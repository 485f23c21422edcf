// SPDX-License-Identifier: Apache-2.0
#include "tools/found.h"

#include "tools/ports.h"
#include "trusted/attest/attest.h"
#include "trusted/pki/pki_cert.h"
#include "trusted/register/placement.h"

#include <openssl/pem.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

enum {
    SOFTWARE_DAYS = 3650,
    DEFAULT_NODES = 3,
    DEFAULT_FACTOR = 3,
    MANY_NODES = 12,
    DEFAULT_WORKERS = 1,
};

__attribute__((format(printf, 3, 4))) static enum err fail(enum err err, struct explain *why,
                                                           const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(why->text, sizeof(why->text), format, args);
    va_end(args);
    return err;
}

static uint64_t or_else(uint64_t wish, uint64_t otherwise)
{
    return wish != 0 ? wish : otherwise;
}

/* Node k has TCP and UDP port base + k * shards, and the UDP ports up to the next node's. */
static void set_ports(struct cluster *c, uint16_t base)
{
    for (uint32_t i = 0; i < c->members_n; i++) {
        struct cluster_member *m = &c->members[i];

        (void)snprintf(m->address, sizeof(m->address), "127.0.0.1");
        m->control_port = m->data_port = (uint16_t)(base + i * c->shards);
    }
}

/* The members one after the other, and behind them the CAS. */
static enum err choose_ports(const struct found_wishes *w, const struct cluster *previous,
                             struct cluster *c, struct explain *why)
{
    uint16_t stride = (uint16_t)c->shards;
    uint16_t n = (uint16_t)((c->members_n + (previous == NULL ? 1 : 0)) * c->shards);
    uint16_t base = (uint16_t)w->base_port, busy = 0;

    if (base != 0) {
        if (base + n > UINT16_MAX) {
            return fail(ERR_USAGE, why, "--base-port %u leaves no room for %u ports", base, n);
        }
        if (!ports_are_free(base, n, stride, &busy)) {
            return fail(ERR_IO, why,
                        "port %u is in use; stop who uses it, or choose another --base-port", busy);
        }
        set_ports(c, base);
        return OK;
    }
    /* Stay where the last epoch was, so that firewalls and habits need no change. */
    if (previous != NULL && previous->members_n == c->members_n && previous->shards == c->shards &&
        ports_are_free(previous->members[0].data_port, n, stride, &busy)) {
        base = previous->members[0].data_port;
    } else {
        base = ports_find(n, stride);
    }
    if (base == 0) {
        return fail(ERR_IO, why, "found no %u free ports in a row; give --base-port", n);
    }
    set_ports(c, base);
    return OK;
}

/* Where every node holds every key one group is enough, and scans ask once. */
static uint32_t default_groups(const struct cluster *c)
{
    if (c->members_n <= c->replication_factor) {
        return 1;
    }
    return c->members_n <= MANY_NODES ? 16 : GROUPS_MAX;
}

/* As the CAS will place them: members and wishes are alike at the beginning (MEM-17). */
static void place_groups(struct cluster *c)
{
    struct placement p = {
        .nodes_n = c->members_n, .factor = c->replication_factor, .groups_n = c->groups_n};

    placement_plan(&p);
    for (uint32_t g = 0; g < c->groups_n; g++) {
        c->groups[g] = (struct cluster_group){.voters = p.at[g]};
    }
}

RESULT found_describe(const struct found_wishes *w, const struct cluster *previous,
                      struct cluster *ret, uint16_t *ret_cas_port, struct explain *why)
{
    struct cluster c = {.epoch = 1};

    if (previous != NULL) {
        memcpy(c.id, previous->id, sizeof(c.id));
        memcpy(c.name, previous->name, sizeof(c.name));
        c.epoch = previous->epoch + 1;
    } else if (getrandom(c.id, sizeof(c.id), 0) != (ssize_t)sizeof(c.id)) {
        return fail(ERR_IO, why, "the kernel gives no random bytes");
    } else {
        (void)snprintf(c.name, sizeof(c.name), "avocado");
    }
    c.members_n =
        (uint32_t)or_else(w->nodes, previous == NULL ? DEFAULT_NODES : previous->members_n);
    c.replication_factor =
        (uint32_t)or_else(w->factor, previous != NULL               ? previous->replication_factor
                                     : c.members_n < DEFAULT_FACTOR ? 1
                                                                    : DEFAULT_FACTOR);
    while (c.replication_factor > c.members_n) {
        c.replication_factor -= 2; /* fewer nodes than before, and no word about it */
    }
    c.groups_n =
        (uint32_t)or_else(w->groups, previous == NULL ? default_groups(&c) : previous->groups_n);
    c.shards = (uint32_t)or_else(w->workers, previous == NULL ? DEFAULT_WORKERS : previous->shards);
    c.datagram_bytes = previous == NULL ? DATAGRAM_LOOPBACK : previous->datagram_bytes;
    c.value_max =
        (uint32_t)or_else(w->value_max, previous == NULL ? VALUE_MAX_DEFAULT : previous->value_max);
    c.enclave_memory = or_else(w->enclave_memory, previous == NULL ? ENCLAVE_MEMORY_DEFAULT
                                                                   : previous->enclave_memory);
    c.host_memory =
        or_else(w->host_memory, previous == NULL ? HOST_MEMORY_DEFAULT : previous->host_memory);
    for (uint32_t i = 0; i < c.members_n; i++) {
        c.members[i].node = c.members[i].incarnation = i + 1; /* the CAS gives others */
    }
    place_groups(&c);
    TRY(choose_ports(w, previous, &c, why));
    *ret_cas_port = (uint16_t)(c.members[0].data_port + c.members_n * c.shards);
    *ret = c;
    return OK;
}

/* ---- measurements ---- */

char *found_measured_format(const struct found_measured *m)
{
    char *text = NULL;

    return asprintf(&text, "%s avocadod\n%s avocado-las\n", m->avocadod, m->las) < 0 ? NULL : text;
}

bool found_measured_parse(const char *text, struct found_measured *ret)
{
    enum { N = 2 * MEASUREMENT_LEN };
    const char *second = strchr(text, '\n');
    static const char hex[] = "0123456789abcdef";

    if (second == NULL || strspn(text, hex) != N || strspn(second + 1, hex) != N) {
        return false;
    }
    (void)snprintf(ret->avocadod, sizeof(ret->avocadod), "%.*s", (int)N, text);
    (void)snprintf(ret->las, sizeof(ret->las), "%.*s", (int)N, second + 1);
    return true;
}

/* Writes over what has the same length. */
static bool exchange(char *text, const char *former, const char *now)
{
    bool found = false;

    for (char *at = text; (at = strstr(at, former)) != NULL; at++) {
        memcpy(at, now, (size_t)2 * MEASUREMENT_LEN);
        found = true;
    }
    return found;
}

char *found_policy_renew(const char *policy, const struct found_measured *former,
                         const struct found_measured *now)
{
    const char *at = strncmp(policy, "policy: ", 8) == 0 ? policy : strstr(policy, "\npolicy: ");
    char *end = NULL, *text = NULL;
    unsigned long version;

    if (at == NULL) {
        return NULL;
    }
    at = strchr(at, ' ') + 1;
    version = strtoul(at, &end, 10);
    if (end == at ||
        asprintf(&text, "%.*s%lu%s", (int)(at - policy), policy, version + 1, end) < 0) {
        return NULL;
    }
    if (!exchange(text, former->avocadod, now->avocadod) ||
        !exchange(text, former->las, now->las)) {
        free(text);
        return NULL;
    }
    return text;
}

/* ---- the files of a first founding ---- */

/* Every member proves itself by its LAS or by evidence of its own; both are software here. */
static const char policy_text[] = "# Who may be what in this cluster: docs/protocol/cas.md\n"
                                  "version: 1\n"
                                  "policy: 1\n"
                                  "certificate_lifetime: 366d\n"
                                  "software_roots: [\"%s\"]\n"
                                  "configuration: |\n"
                                  "%s"
                                  "roles:\n"
                                  "  - role: replica\n"
                                  "    las: allowed\n"
                                  "    evidence: |\n"
                                  "      version: 1\n"
                                  "      software:\n"
                                  "        mrenclave: [%s]\n"
                                  "  - role: las\n"
                                  "    evidence: |\n"
                                  "      version: 1\n"
                                  "      software:\n"
                                  "        mrenclave: [%s]\n";

/* A text as a block below its key. */
static char *indent(const char *text)
{
    char *out = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&out, &n);
    bool good = f != NULL;

    for (const char *at = text; good && *at != '\0';) {
        size_t line = strcspn(at, "\n");

        good = fprintf(f, "  %.*s\n", (int)line, at) > 0;
        at += line + (at[line] == '\n');
    }
    if (f == NULL || fclose(f) != 0 || !good) {
        free(out);
        return NULL;
    }
    return out;
}

static enum err make_policy(const struct cluster *c, const struct found_measured *m,
                            struct foundation *f, struct explain *why)
{
    struct attest_roots roots = {0};
    char pin[2 * ATTEST_PIN_LEN + 1], *yaml = cluster_format(c),
                                      *block = yaml == NULL ? NULL : indent(yaml);
    enum err err = attest_roots_add(&roots, software_file_get(&f->software, "root_ca.pem"));

    for (size_t i = 0; err == OK && i < ATTEST_PIN_LEN; i++) {
        (void)snprintf(pin + 2 * i, 3, "%02x", roots.pin[0][i]);
    }
    if (err == OK) {
        f->measured = found_measured_format(m);
        if (block == NULL || f->measured == NULL ||
            asprintf(&f->policy, policy_text, pin, block, m->avocadod, m->las) < 0) {
            f->policy = NULL;
            err = fail(ERR_IO, why, "out of memory");
        }
    }
    free(block);
    free(yaml);
    return err;
}

static enum err make_owner(struct foundation *f, struct explain *why)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    BIO *secret = BIO_new(BIO_s_secmem()), *pub = BIO_new(BIO_s_mem());
    bool good = key != NULL && secret != NULL && pub != NULL &&
                PEM_write_bio_PKCS8PrivateKey(secret, key, NULL, NULL, 0, NULL, NULL) == 1 &&
                PEM_write_bio_PUBKEY(pub, key) == 1;

    EVP_PKEY_free(key);
    f->owner_key = good ? pki_take_text(secret) : NULL;
    f->owner_pub = good ? pki_take_text(pub) : NULL;
    if (!good) {
        BIO_free(secret);
        BIO_free(pub);
    }
    return f->owner_key != NULL && f->owner_pub != NULL
               ? OK
               : fail(ERR_IO, why, "the owner's key cannot be made");
}

static void add_text(struct foundation *f, const char *name, bool is_secret, const char *text)
{
    f->files[f->n++] =
        (struct cluster_dir_file){name, is_secret, {(const uint8_t *)text, strlen(text)}};
}

/* sw/ as `avocado attest found` lays it out. */
static void add_software(struct foundation *f)
{
    for (size_t i = 0; i < SOFTWARE_FILES_N; i++) {
        const struct software_file *s = &f->software.file[i];
        const char *below = strcmp(s->name, "root_ca.pem") == 0    ? "root/"
                            : strcmp(s->name, "root_key.pem") == 0 ? ""
                                                                   : "platform/";

        (void)snprintf(f->names[i], sizeof(f->names[i]), "sw/%s%s", below, s->name);
        f->files[f->n++] = (struct cluster_dir_file){f->names[i], s->is_secret, {s->p, s->n}};
    }
}

RESULT found_first(const struct cluster *c, uint16_t cas_port, const struct found_measured *m,
                   struct foundation *ret, struct explain *why)
{
    const struct software_wishes wishes = {.now_s = (uint64_t)time(NULL),
                                           .days = SOFTWARE_DAYS,
                                           .platform_svn = SOFTWARE_SVN,
                                           .evaluation = 1};
    enum err err = software_found(&wishes, &ret->software, why);

    if (err == OK) {
        err = make_owner(ret, why);
    }
    if (err == OK) {
        err = make_policy(c, m, ret, why);
    }
    if (err != OK) {
        foundation_free(ret);
        return err;
    }
    (void)snprintf(ret->address, sizeof(ret->address), "127.0.0.1:%u\n", (unsigned)cas_port);
    add_software(ret);
    add_text(ret, "cas/address", false, ret->address);
    add_text(ret, "policy.yaml", false, ret->policy);
    add_text(ret, "measured", false, ret->measured);
    add_text(ret, "owner.pub", false, ret->owner_pub);
    add_text(ret, "owner.key", true, ret->owner_key);
    return OK;
}

void foundation_free(struct foundation *f)
{
    software_files_free(&f->software);
    if (f->owner_key != NULL) {
        explicit_bzero(f->owner_key, strlen(f->owner_key));
    }
    free(f->owner_key);
    free(f->owner_pub);
    free(f->policy);
    free(f->measured);
    *f = (struct foundation){0};
}
