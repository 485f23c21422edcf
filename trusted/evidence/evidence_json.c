// SPDX-License-Identifier: Apache-2.0
#include "trusted/evidence/evidence_internal.h"

#include <openssl/evp.h>

#include <stdlib.h>

char *evidence_base64(struct bytes b)
{
    char *text = b.n > INT32_MAX / 2 ? NULL : malloc(4 * ((b.n + 2) / 3) + 1);

    if (text != NULL) {
        text[0] = '\0';
        if (b.n > 0) {
            (void)EVP_EncodeBlock((unsigned char *)text, b.p, (int)b.n);
        }
    }
    return text;
}

uint8_t *evidence_unbase64(const char *text, size_t n, size_t *ret_n)
{
    uint8_t *p = NULL;
    char *again = NULL;
    size_t pad = n < 4 ? 0 : (size_t)(text[n - 1] == '=') + (size_t)(text[n - 2] == '=');
    int got = -1;

    if (n % 4 != 0 || n > INT32_MAX / 2) {
        return NULL;
    }
    p = malloc(n / 4 * 3 + 1);
    if (p == NULL || n == 0) {
        *ret_n = 0;
        return p;
    }
    got = EVP_DecodeBlock(p, (const unsigned char *)text, (int)n);
    if (got >= (int)pad) {
        *ret_n = (size_t)got - pad;
        again = evidence_base64((struct bytes){p, *ret_n});
    }
    /* One spelling: OpenSSL forgives blanks and stray bits. */
    if (again == NULL || strlen(again) != n || memcmp(again, text, n) != 0) {
        free(p);
        p = NULL;
    }
    free(again);
    return p;
}

static bool set(json_t *object, const char *name, struct bytes b)
{
    char *text = evidence_base64(b);
    bool good = text != NULL && json_object_set_new(object, name, json_string(text)) == 0;

    free(text);
    return good;
}

json_t *evidence_to_json(const struct evidence *e)
{
    json_t *root = json_object(), *collateral = json_object();
    struct attest_collateral c = e->collateral;
    bool good = root != NULL && collateral != NULL &&
                json_object_set_new(root, "kind", json_string(attest_kind_name(e->kind))) == 0 &&
                set(root, "evidence", evidence_bytes(e));

    for (size_t i = 0; good && i < EVIDENCE_FILES_N; i++) {
        const struct bytes *slot = evidence_slot(&c, evidence_file_name(i), &(size_t){0});

        if (slot->n > 0) {
            good = set(collateral, evidence_file_name(i), *slot);
        }
    }
    good = good && json_object_set(root, "collateral", collateral) == 0;
    json_decref(collateral);
    if (!good) {
        json_decref(root);
        root = NULL;
    }
    return root;
}

/* The bytes of a member; NULL: not base64, or longer than `max`. */
static uint8_t *get(const json_t *member, size_t max, size_t *ret_n)
{
    uint8_t *p = NULL;

    if (json_is_string(member) && json_string_length(member) <= (max + 2) / 3 * 4) {
        p = evidence_unbase64(json_string_value(member), json_string_length(member), ret_n);
    }
    return p;
}

static enum err get_collateral(json_t *files, struct evidence *e, struct explain *why)
{
    const char *name = NULL;
    json_t *member = NULL;

    json_object_foreach(files, name, member)
    {
        size_t n = 0, at = 0;
        uint8_t *p = NULL;

        if (evidence_slot(&e->collateral, name, &at) == NULL) {
            explain(why, "collateral '%s' is none that is known", name);
            return ERR_MALFORMED;
        }
        p = get(member, ATTEST_COLLATERAL_MAX, &n);
        if (p == NULL) {
            explain(why, "collateral '%s' is not canonical base64 of at most %d bytes", name,
                    ATTEST_COLLATERAL_MAX);
            return ERR_MALFORMED;
        }
        if (evidence_keep(e, name, p, n) != OK) {
            explain(why, "collateral '%s' is given twice", name);
            return ERR_MALFORMED;
        }
    }
    return OK;
}

RESULT evidence_from_json(const json_t *json, struct evidence *ret, struct explain *why)
{
    const char *kind = json_string_value(json_object_get(json, "kind"));
    json_t *files = json_object_get(json, "collateral");
    struct evidence e = {0};
    enum err err = OK;

    if (!json_is_object(json) || json_object_size(json) != 3 || !json_is_object(files) ||
        kind == NULL || !attest_kind_parse(kind, &e.kind)) {
        explain(why, "evidence is an object of kind (sgx, tdx, snp, software), evidence and "
                     "collateral");
        return ERR_MALFORMED;
    }
    e.p = get(json_object_get(json, "evidence"), ATTEST_EVIDENCE_MAX, &e.n);
    if (e.p == NULL) {
        explain(why, "evidence is not canonical base64 of at most %d bytes", ATTEST_EVIDENCE_MAX);
        return ERR_MALFORMED;
    }
    err = get_collateral(files, &e, why);
    if (err != OK) {
        evidence_free(&e);
        return err;
    }
    *ret = e;
    return OK;
}
