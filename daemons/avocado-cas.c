// SPDX-License-Identifier: Apache-2.0
/* avocado-cas: the configuration and attestation service of one cluster. */
#include "daemons/cas_http.h"
#include "daemons/log.h"
#include "trusted/config/explain.h"
#include "trusted/config/file.h"
#include "trusted/crypto/entropy.h"
#include "trusted/crypto/kdf.h"
#include "trusted/https/https.h"
#include "trusted/port/port.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum exit_code {
    EXIT_USAGE = 2,
    EXIT_UNAVAILABLE = 3,
    EXIT_REFUSED = 5,
    EXIT_INTEGRITY = 6,
};

enum { SEAL_KEY_MIN = 16, SEAL_KEY_MAX = 4096, KEY_FILE_MAX = 16 << 10, PROBE_MS = 300 };

struct options {
    const char *listen, *state, *anchor, *seal_key, *evidence, *collateral, *policy, *owner_key;
    const char *ca_out;
    bool found;
};

static const char help[] =
    "Usage: avocado-cas --listen ADDRESS:PORT --state FILE --seal-key FILE [options]\n"
    "\n"
    "The configuration and attestation service of a cluster: says who may join, and gives those "
    "who\n"
    "prove it certificates, the configuration and secrets. HTTPS and JSON.\n"
    "\n"
    "  --listen ADDRESS:PORT where to serve\n"
    "  --state FILE          SQLite file with the state; every row is sealed\n"
    "  --seal-key FILE       key under which it is sealed: under Gramine\n"
    "                        /dev/attestation/keys/_sgx_mrenclave; else a file that only this TEE "
    "can\n"
    "                        read (made by --found when it is not there)\n"
    "  --anchor FILE         keeps the highest version that was acknowledged, so that an older "
    "state\n"
    "                        is refused (default: FILE of --state, and .anchor; better another "
    "disk)\n"
    "  --evidence KIND[:DIR] what the CAS proves itself with: sgx, snp, tdx, software:DIR\n"
    "  --collateral DIR      folders sgx, tdx, snp, software with collateral for joiners who send "
    "none\n"
    "  --found               a new cluster: needs --policy and --owner-key; refuses where one "
    "exists\n"
    "  --policy FILE         its policy (docs/protocol/cas.md)\n"
    "  --owner-key FILE      public key (PEM) of who may change the policy\n"
    "  --ca-out FILE         writes the cluster's CA certificate there\n"
    "  --help, --version\n"
    "\n"
    "Exit: 0 stopped in order, 2 usage, policy or wrong files, 3 cannot serve, 5 refused to "
    "found,\n"
    "6 the state was tampered with or rolled back.\n";

static int fail(enum exit_code code, const char *what)
{
    (void)fprintf(stderr, "avocado-cas: %s\n", what);
    return (int)code;
}

static bool parse_options(int argc, char **argv, struct options *o, int *ret_code)
{
    static const struct option longs[] = {{"listen", required_argument, NULL, 'l'},
                                          {"state", required_argument, NULL, 's'},
                                          {"seal-key", required_argument, NULL, 'k'},
                                          {"anchor", required_argument, NULL, 'a'},
                                          {"evidence", required_argument, NULL, 'e'},
                                          {"collateral", required_argument, NULL, 'c'},
                                          {"found", no_argument, NULL, 'f'},
                                          {"policy", required_argument, NULL, 'p'},
                                          {"owner-key", required_argument, NULL, 'o'},
                                          {"ca-out", required_argument, NULL, 'C'},
                                          {"help", no_argument, NULL, 'h'},
                                          {"version", no_argument, NULL, 'V'},
                                          {NULL, 0, NULL, 0}};
    const char **texts[128] = {['l'] = &o->listen, ['s'] = &o->state,     ['k'] = &o->seal_key,
                               ['a'] = &o->anchor, ['e'] = &o->evidence,  ['c'] = &o->collateral,
                               ['p'] = &o->policy, ['o'] = &o->owner_key, ['C'] = &o->ca_out};
    int c;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (c == 'h' || c == 'V') {
            (void)fputs(c == 'h' ? help : "avocado-cas " AVOCADO_VERSION "\n", stdout);
            *ret_code = 0;
            return false;
        }
        if (c == 'f') {
            o->found = true;
        } else if (c == '?' || texts[c & 127] == NULL) {
            *ret_code = fail(EXIT_USAGE, "see `avocado-cas --help`");
            return false;
        } else {
            *texts[c & 127] = optarg;
        }
    }
    if (optind != argc || o->listen == NULL || o->state == NULL || o->seal_key == NULL ||
        o->found != (o->policy != NULL) || o->found != (o->owner_key != NULL)) {
        *ret_code = fail(
            EXIT_USAGE, "--listen, --state and --seal-key are needed, and --policy and --owner-key "
                        "with --found alone; see `avocado-cas --help`");
        return false;
    }
    return true;
}

/* ---- keys and files ---- */

static bool make_key_file(const char *path)
{
    uint8_t key[32];
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool good;

    entropy_fill(key, sizeof(key));
    good = fd >= 0 && write(fd, key, sizeof(key)) == (ssize_t)sizeof(key) && fsync(fd) == 0;
    if (fd >= 0) {
        (void)close(fd);
    }
    wipe(key, sizeof(key));
    return good;
}

static enum err load_seal_key(const struct options *o, struct secret *ret, struct explain *why)
{
    static const char purpose[] = "avocado cas seal";
    char *text = NULL;
    size_t n = 0;

    if (o->found && access(o->seal_key, F_OK) != 0 && !make_key_file(o->seal_key)) {
        explain(why, "%s cannot be made: %s", o->seal_key, strerror(errno));
        return ERR_IO;
    }
    /* Gramine's key files have the modes that it gives them. */
    TRY(file_read(o->seal_key,
                  strncmp(o->seal_key, "/dev/attestation/", 17) == 0 ? FILE_PUBLIC : FILE_SECRET,
                  SEAL_KEY_MAX, &text, &n, why));
    if (n < SEAL_KEY_MIN) {
        file_free(text, n);
        explain(why, "%s has %zu bytes; a key has at least %d", o->seal_key, n, SEAL_KEY_MIN);
        return ERR_USAGE;
    }
    hmac_sha256((struct bytes){(const uint8_t *)text, n},
                &(struct bytes){(const uint8_t *)purpose, sizeof(purpose)}, 1, ret->b);
    file_free(text, n);
    return OK;
}

static struct evidence collateral[ATTEST_KINDS_N];

static enum err load_collateral(const struct options *o, struct cas *cas, struct explain *why)
{
    for (unsigned k = 1; k < ATTEST_KINDS_N; k++) {
        char path[PATH_MAX];

        (void)snprintf(path, sizeof(path), "%s/%s", o->collateral,
                       attest_kind_name((enum attest_kind)k));
        if (access(path, F_OK) == 0) {
            TRY(evidence_collateral(path, &collateral[k], why));
            cas_set_collateral(cas, (enum attest_kind)k, &collateral[k].collateral);
        }
    }
    return OK;
}

/* ---- founding ---- */

/* Does something answer where a member is to live? */
static bool answers(const struct cluster_member *m)
{
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(m->control_port)};
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(m->control_port)};
    bool is_v6 = inet_pton(AF_INET6, m->address, &v6.sin6_addr) == 1;
    const struct sockaddr *a = is_v6 ? (const struct sockaddr *)&v6 : (const struct sockaddr *)&v4;
    int fd, error = 1;
    socklen_t n = sizeof(error);
    struct pollfd p;

    if (!is_v6 && inet_pton(AF_INET, m->address, &v4.sin_addr) != 1) {
        return false;
    }
    fd = socket(a->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    p = (struct pollfd){.fd = fd, .events = POLLOUT};
    if (connect(fd, a, is_v6 ? sizeof(v6) : sizeof(v4)) == 0) {
        error = 0;
    } else if (errno != EINPROGRESS || poll(&p, 1, PROBE_MS) != 1 ||
               getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n) != 0) {
        error = 1;
    }
    (void)close(fd);
    return error == 0;
}

/* CAS-4: a second cluster over a living one would be a fork of it. */
static enum err check_no_cluster(const struct cluster *c, struct explain *why)
{
    for (uint32_t i = 0; i < c->members_n; i++) {
        if (answers(&c->members[i])) {
            explain(why,
                    "something answers at %s:%u already, where node %u is to live: a cluster "
                    "exists; its CAS is to be started without --found",
                    c->members[i].address, (unsigned)c->members[i].control_port,
                    c->members[i].node);
            return ERR_POLICY;
        }
    }
    return OK;
}

static enum err found(const struct options *o, struct cas_store_options *so, struct cas_store **ret,
                      struct cas **ret_cas, struct explain *why)
{
    struct cas_founding f = {.now_s = (uint64_t)time(NULL)};
    struct cas_policy *policy = NULL;
    char *text = NULL, *key = NULL;
    struct explain inner = {0};
    size_t n = 0, key_n = 0;
    enum err err = file_read(o->policy, FILE_PUBLIC, CAS_POLICY_TEXT_MAX, &text, &n, why);

    if (err == OK) {
        err = file_read(o->owner_key, FILE_PUBLIC, KEY_FILE_MAX, &key, &key_n, why);
    }
    if (err == OK && cas_policy_parse(text, n, &policy, &inner) != OK) {
        explain(why, "%s: %s", o->policy, inner.text);
        err = ERR_MALFORMED;
    }
    if (err == OK) {
        err = check_no_cluster(&policy->cluster, why);
    }
    if (err == OK) {
        err = cas_store_open(so, ret, why);
    }
    if (err == OK) {
        f.policy = text;
        f.policy_n = n;
        f.owner_key_pem = key;
        err = cas_found(&f, *ret, ret_cas, why);
    }
    cas_policy_free(policy);
    file_free(text, n);
    file_free(key, key_n);
    return err;
}

static int code_of(enum err err)
{
    if (err == ERR_AUTH || err == ERR_REPLAY) {
        return EXIT_INTEGRITY;
    }
    if (err == ERR_POLICY) {
        return EXIT_REFUSED;
    }
    return err == ERR_USAGE || err == ERR_MALFORMED ? EXIT_USAGE : EXIT_UNAVAILABLE;
}

static enum err write_ca(const struct options *o, const struct cas *cas, struct explain *why)
{
    FILE *f = o->ca_out == NULL ? NULL : fopen(o->ca_out, "we");
    bool good = o->ca_out == NULL || (f != NULL && fputs(cas_ca_pem(cas), f) >= 0);

    if (f != NULL) {
        good = fclose(f) == 0 && good;
    }
    if (!good) {
        explain(why, "%s cannot be written: %s", o->ca_out, strerror(errno));
    }
    return good ? OK : ERR_IO;
}

static enum err serve(const struct options *o, struct cas *cas, struct explain *why)
{
    struct https_peer at;
    struct evidence_source source;
    struct cas_http_options ho = {0};
    struct cas_http *http = NULL;
    enum err err = OK;

    TRY(https_peer_parse(o->listen, &at, why));
    if (o->evidence != NULL) {
        TRY(evidence_source_parse(o->evidence, &source, why));
        ho.evidence = &source;
    }
    if (o->collateral != NULL) {
        TRY(load_collateral(o, cas, why));
    }
    TRY(write_ca(o, cas, why));
    ho.address = at.host;
    ho.port = at.port;
    TRY(cas_http_start(&ho, cas, &http, why));
    node_log("info", "avocado-cas %s: cluster %s, epoch %llu, serving at %s", AVOCADO_VERSION,
             cas_policy(cas)->cluster.name, (unsigned long long)cas_epoch(cas), o->listen);
    if (o->evidence == NULL || source.kind == ATTEST_SOFTWARE) {
        node_log("warning",
                 "SOFTWARE, NOT PROTECTED: whoever administers this machine can read the "
                 "CAS's keys");
    }
    err = cas_http_serve(http, why);
    cas_http_stop(http);
    return err;
}

int main(int argc, char **argv)
{
    struct options o = {0};
    char anchor[PATH_MAX];
    SECRET_LOCAL key;
    struct cas_store_options so = {.key = &key};
    struct cas_store *store = NULL;
    struct cas *cas = NULL;
    struct explain why = {0};
    enum err err;
    int code = 0;

    if (!parse_options(argc, argv, &o, &code)) {
        return code;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    (void)umask(0077);
    port_harden();
    (void)snprintf(anchor, sizeof(anchor), "%s.anchor", o.state);
    so.path = o.state;
    so.anchor = o.anchor == NULL ? anchor : o.anchor;
    so.create = o.found;
    err = load_seal_key(&o, &key, &why);
    if (err == OK && o.found) {
        err = found(&o, &so, &store, &cas, &why);
    } else if (err == OK) {
        err = cas_store_open(&so, &store, &why);
        if (err == OK) {
            err = cas_load(store, &cas, &why);
        }
    }
    if (err == OK) {
        err = serve(&o, cas, &why);
    }
    cas_free(cas);
    cas_store_close(store);
    for (unsigned k = 1; k < ATTEST_KINDS_N; k++) {
        evidence_free(&collateral[k]);
    }
    return err == OK ? 0 : fail((enum exit_code)code_of(err), why.text);
}
