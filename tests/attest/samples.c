// SPDX-License-Identifier: Apache-2.0
#include "tests/attest/samples.h"

#include "common/check.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const file_names[SAMPLE_FILES_N] = {
    "",
    "pck_chain.pem",
    "tcb_info.json",
    "qe_identity.json",
    "tcb_signing_chain.pem",
    "pck_crl.der",
    "root_ca_crl.der",
    "vcek.der",
    "vlek.der",
    "ask.pem",
    "asvk.pem",
    "ark.pem",
    "crl.der",
    "auxblob.bin",
};

static struct bytes *collateral_slot(struct attest_input *in, size_t i)
{
    struct attest_collateral *c = &in->collateral;
    struct bytes *slots[SAMPLE_FILES_N] = {
        &in->evidence, &c->pck_chain,   &c->tcb_info, &c->qe_identity, &c->tcb_signing_chain,
        &c->pck_crl,   &c->root_ca_crl, &c->vcek,     &c->vlek,        &c->ask,
        &c->asvk,      &c->ark,         &c->crl,      &c->auxblob,
    };

    return slots[i];
}

const char *samples_root(void)
{
    const char *root = getenv("ATTEST_DATA");

    CHECK(root != NULL);
    return root;
}

uint8_t *sample_read(const char *dir, const char *name, size_t *ret_n)
{
    char path[1024];
    FILE *f = NULL;
    uint8_t *p = NULL;
    size_t n = 0;

    CHECK(snprintf(path, sizeof(path), "%s/%s", dir, name) < (int)sizeof(path));
    f = fopen(path, "rb");
    if (f == NULL) {
        return NULL;
    }
    p = malloc(ATTEST_COLLATERAL_MAX);
    CHECK(p != NULL);
    n = fread(p, 1, ATTEST_COLLATERAL_MAX, f);
    (void)fclose(f);
    /* Exactly as large as the file, so that a sanitizer sees the first byte read past it. */
    p = realloc(p, n == 0 ? 1 : n);
    CHECK(p != NULL);
    *ret_n = n;
    return p;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

size_t samples_list(char names[][96], size_t max)
{
    static const char *const tees[] = {"sgx", "tdx", "snp"};
    size_t n = 0;

    for (size_t i = 0; i < 3; i++) {
        char path[1024];
        DIR *d = NULL;
        const struct dirent *e = NULL;

        CHECK(snprintf(path, sizeof(path), "%s/%s", samples_root(), tees[i]) < (int)sizeof(path));
        d = opendir(path);
        CHECK(d != NULL);
        while ((e = readdir(d)) != NULL) {
            if (e->d_name[0] != '.') {
                CHECK(n < max);
                (void)snprintf(names[n++], 96, "%s/%.80s", tees[i], e->d_name);
            }
        }
        (void)closedir(d);
    }
    qsort(names, n, 96, by_name);
    return n;
}

void sample_relink(struct sample *s)
{
    for (size_t i = 0; i < SAMPLE_FILES_N; i++) {
        *collateral_slot(&s->in, i) = (struct bytes){s->file[i].p, s->file[i].n};
    }
}

void sample_load(const char *name, struct sample *ret)
{
    size_t n = 0;
    char tee[8] = "";
    uint8_t *text = NULL;

    *ret = (struct sample){0};
    CHECK(snprintf(ret->dir, sizeof(ret->dir), "%s/%s", samples_root(), name) <
          (int)sizeof(ret->dir));
    ret->name = ret->dir + strlen(samples_root()) + 1;
    (void)snprintf(tee, sizeof(tee), "%.3s", name);
    CHECK(attest_kind_parse(tee, &ret->in.kind));
    for (size_t i = 0; i < SAMPLE_FILES_N; i++) {
        ret->file[i].name = i > 0                        ? file_names[i]
                            : ret->in.kind == ATTEST_SNP ? "report.bin"
                                                         : "quote.bin";
        ret->file[i].p = sample_read(ret->dir, ret->file[i].name, &ret->file[i].n);
    }
    CHECK(ret->file[0].p != NULL);
    text = sample_read(ret->dir, "expected.json", &n);
    CHECK(text != NULL);
    ret->expected = json_loadb((const char *)text, n, 0, NULL);
    free(text);
    CHECK(ret->expected != NULL);
    attest_roots_vendor(ret->in.kind, &ret->in.roots);
    ret->in.now_s = (uint64_t)json_integer_value(
        json_object_get(json_object_get(ret->expected, "verify_at"), "epoch"));
    sample_relink(ret);
}

struct sample_file *sample_file(struct sample *s, const char *name)
{
    for (size_t i = 0; i < SAMPLE_FILES_N; i++) {
        if (strcmp(s->file[i].name, name) == 0) {
            return &s->file[i];
        }
    }
    CHECK(false);
    return NULL;
}

void sample_free(struct sample *s)
{
    for (size_t i = 0; i < SAMPLE_FILES_N; i++) {
        free(s->file[i].p);
    }
    json_decref(s->expected);
    *s = (struct sample){0};
}

bool verdict_has(const struct attest_verdict *v, const char *rule)
{
    for (uint32_t i = 0; i < v->failures_n; i++) {
        if (strcmp(attest_rule_name(v->failure[i].rule), rule) == 0) {
            return true;
        }
    }
    return false;
}

const char *verdict_text(const struct attest_verdict *v)
{
    static char text[8192];
    size_t at = 0;

    text[0] = '\0';
    for (uint32_t i = 0; i < v->failures_n && at < sizeof(text) - 512; i++) {
        at += (size_t)snprintf(text + at, sizeof(text) - at, "[%s: found %s; wanted %s] ",
                               attest_rule_name(v->failure[i].rule), v->failure[i].found,
                               v->failure[i].wanted);
    }
    return text;
}
