// SPDX-License-Identifier: Apache-2.0
/* avocado-las: vouches for the processes of its machine, after the CAS has attested it once. */
#include "daemons/las_serve.h"
#include "daemons/log.h"
#include "daemons/prove.h"
#include "trusted/config/explain.h"
#include "trusted/config/file.h"
#include "trusted/port/port.h"

#include <event2/event.h>

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum exit_code {
    EXIT_USAGE = 2,
    EXIT_UNAVAILABLE = 3,
    EXIT_REFUSED = 5,
};

enum {
    CA_MAX = 64 << 10,
    TIMEOUT_MS = 10000,
    RETRY_MIN_S = 1,
    RETRY_MAX_S = 30,
    RENEW_MIN_S = 2,
};

struct las {
    struct prove_options prove;
    struct evidence_source evidence;
    const char *name;
    char *ca_pem;
    EVP_PKEY *key;
    X509 *cert;
    struct event_base *base;
    struct event *on_time, *on_term, *on_int;
    struct las_serve *serve;
    unsigned retry_s;
    bool attested; /* at least once */
    struct explain refused;
};

static const char help[] =
    "Usage: avocado-las --socket PATH --cas HOST:PORT --cas-ca FILE --evidence KIND[:DIR]\n"
    "                   --name las.NAME [--collateral DIR]\n"
    "\n"
    "The local attestation service of one machine: proves itself to the CAS with the hardware's\n"
    "evidence, and then says of local processes, in milliseconds, which program they are.\n"
    "\n"
    "  --socket PATH         Unix socket at which processes ask\n"
    "  --cas HOST:PORT       the CAS\n"
    "  --cas-ca FILE         certificate of the cluster's CA: who answers must be its CAS\n"
    "  --evidence KIND[:DIR] sgx, snp, tdx, software:DIR\n"
    "  --collateral DIR      collateral to send along\n"
    "  --name las.NAME       of this LAS, one for each machine\n"
    "  --help, --version\n"
    "\n"
    "Needs CAP_SYS_PTRACE to look at processes that hide themselves (root has it).\n"
    "Exit: 0 stopped in order, 2 usage, 3 cannot serve, 5 refused by the CAS.\n";

static int fail(enum exit_code code, const char *what)
{
    (void)fprintf(stderr, "avocado-las: %s\n", what);
    return (int)code;
}

static bool parse_options(int argc, char **argv, struct las *l, const char **ret_socket,
                          const char **ret_ca, int *ret_code)
{
    static const struct option longs[] = {{"socket", required_argument, NULL, 's'},
                                          {"cas", required_argument, NULL, 'c'},
                                          {"cas-ca", required_argument, NULL, 'a'},
                                          {"evidence", required_argument, NULL, 'e'},
                                          {"collateral", required_argument, NULL, 'l'},
                                          {"name", required_argument, NULL, 'n'},
                                          {"help", no_argument, NULL, 'h'},
                                          {"version", no_argument, NULL, 'V'},
                                          {NULL, 0, NULL, 0}};
    const char *cas = NULL, *evidence = NULL, *collateral = NULL;
    const char **texts[128] = {['s'] = ret_socket, ['c'] = &cas,        ['a'] = ret_ca,
                               ['e'] = &evidence,  ['l'] = &collateral, ['n'] = &l->name};
    struct explain why = {0};
    int c;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (c == 'h' || c == 'V') {
            (void)fputs(c == 'h' ? help : "avocado-las " AVOCADO_VERSION "\n", stdout);
            *ret_code = 0;
            return false;
        }
        if (c == '?' || texts[c & 127] == NULL) {
            *ret_code = fail(EXIT_USAGE, "see `avocado-las --help`");
            return false;
        }
        *texts[c & 127] = optarg;
    }
    if (optind != argc || *ret_socket == NULL || cas == NULL || *ret_ca == NULL ||
        evidence == NULL || l->name == NULL) {
        *ret_code =
            fail(EXIT_USAGE, "--socket, --cas, --cas-ca, --evidence and --name are needed; see "
                             "`avocado-las --help`");
        return false;
    }
    if (https_peer_parse(cas, &l->prove.cas, &why) != OK ||
        evidence_source_parse(evidence, &l->evidence, &why) != OK) {
        *ret_code = fail(EXIT_USAGE, why.text);
        return false;
    }
    l->evidence.collateral = collateral;
    return true;
}

/* The CAS tells which CA follows its own before it changes, CAS-41. */
static void set_trust(struct las *l, const char *ca_pem)
{
    char *copy = ca_pem == NULL ? NULL : strdup(ca_pem);

    if (copy != NULL) {
        free(l->ca_pem);
        l->ca_pem = copy;
        l->prove.cas.ca_pem = copy;
    }
}

/* Proves itself; how long until the next time, in seconds. */
static unsigned attest(struct las *l)
{
    struct explain why = {0};
    json_t *answer = NULL;
    json_int_t renew_s = 0;
    const struct prove_ask ask = {"POST", "/v1/las", json_pack("{s:s}", "name", l->name), l->key,
                                  l->cert};
    enum err err = prove(&l->prove, &ask, &answer, &why);

    if (err == OK) {
        renew_s = json_integer_value(json_object_get(answer, "renew_after_s"));
        set_trust(l, json_string_value(json_object_get(answer, "ca")));
        json_decref(answer);
        las_serve_set_attested(l->serve, true);
        node_log("info", "%s is attested; again in %lld s", l->name, (long long)renew_s);
        l->attested = true;
        l->retry_s = RETRY_MIN_S;
        return renew_s < RENEW_MIN_S ? RENEW_MIN_S : (unsigned)renew_s;
    }
    if (err == ERR_POLICY || err == ERR_AUTH) {
        l->refused = why;
        (void)event_base_loopexit(l->base, NULL);
        return RETRY_MAX_S;
    }
    /* What was attested stays so until the CAS says otherwise: tokens go on. */
    node_log("warning", "%s; next attempt in %u s", why.text, l->retry_s);
    l->retry_s = l->retry_s * 2 > RETRY_MAX_S ? RETRY_MAX_S : l->retry_s * 2;
    return l->retry_s;
}

static void on_time(evutil_socket_t fd, short what, void *arg)
{
    struct las *l = arg;
    struct timeval next = {.tv_sec = (time_t)attest(l)};

    (void)fd;
    (void)what;
    (void)event_add(l->on_time, &next);
}

static void on_signal(evutil_socket_t fd, short what, void *base)
{
    (void)fd;
    (void)what;
    (void)event_base_loopbreak(base);
}

static enum err start(struct las *l, const char *socket, struct explain *why)
{
    const struct timeval now = {0};
    struct las_serve_options so = {
        .socket = socket, .name = l->name, .kind = l->evidence.kind, .gramine = l->evidence.path};

    TRY(https_new_key(&l->key, &l->cert, why));
    so.key = l->key;
    l->base = event_base_new();
    if (l->base == NULL) {
        explain(why, "out of memory");
        return ERR_UNAVAILABLE;
    }
    TRY(las_serve_start(&so, l->base, &l->serve, why));
    l->on_time = event_new(l->base, -1, 0, on_time, l);
    l->on_term = evsignal_new(l->base, SIGTERM, on_signal, l->base);
    l->on_int = evsignal_new(l->base, SIGINT, on_signal, l->base);
    if (l->on_time == NULL || l->on_term == NULL || l->on_int == NULL ||
        event_add(l->on_time, &now) != 0 || event_add(l->on_term, NULL) != 0 ||
        event_add(l->on_int, NULL) != 0) {
        explain(why, "out of memory");
        return ERR_UNAVAILABLE;
    }
    return OK;
}

static void end(struct las *l)
{
    struct event *events[] = {l->on_time, l->on_term, l->on_int};

    las_serve_stop(l->serve);
    for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
        if (events[i] != NULL) {
            event_free(events[i]);
        }
    }
    if (l->base != NULL) {
        event_base_free(l->base);
    }
    X509_free(l->cert);
    EVP_PKEY_free(l->key);
}

int main(int argc, char **argv)
{
    struct las l = {.retry_s = RETRY_MIN_S, .prove = {.timeout_ms = TIMEOUT_MS}};
    const char *socket = NULL, *ca = NULL;
    struct explain why = {0};
    size_t ca_n = 0;
    int code = 0;

    if (!parse_options(argc, argv, &l, &socket, &ca, &code)) {
        return code;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    port_harden();
    if (file_read(ca, FILE_PUBLIC, CA_MAX, &l.ca_pem, &ca_n, &why) != OK) {
        return fail(EXIT_USAGE, why.text);
    }
    l.prove.cas.ca_pem = l.ca_pem;
    l.prove.evidence = &l.evidence;
    if (start(&l, socket, &why) != OK) {
        code = fail(EXIT_UNAVAILABLE, why.text);
    } else {
        node_log("info", "avocado-las %s: %s, evidence of %s, at %s", AVOCADO_VERSION, l.name,
                 attest_kind_name(l.evidence.kind), socket);
        if (l.evidence.kind == ATTEST_SOFTWARE) {
            node_log("warning", "SOFTWARE, NOT PROTECTED: no hardware stands behind this LAS");
        }
        (void)event_base_dispatch(l.base);
        if (l.refused.text[0] != '\0') {
            code = fail(EXIT_REFUSED, l.refused.text);
        }
    }
    end(&l);
    free(l.ca_pem); /* a certificate: nothing to wipe */
    return code;
}
