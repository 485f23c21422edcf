// SPDX-License-Identifier: Apache-2.0
#include "trusted/attest/attest_snp_certs.h"

#include "common/codec.h"

#define AMD "1.3.6.1.4.1.3704.1."

enum { GUID_LEN = 16, TABLE_ENTRY_LEN = 24, TABLE_ENTRIES_MAX = 8 };

/* The table's names of its entries, ATT-27; the bytes stand in the order of the text. */
static const struct {
    uint8_t guid[GUID_LEN];
    size_t member; /* of struct attest_collateral */
    bool needs_vlek, needs_vcek;
} entries[] = {
    {{0x63, 0xda, 0x75, 0x8d, 0xe6, 0x64, 0x45, 0x64, 0xad, 0xc5, 0xf4, 0xb9, 0x3b, 0xe8, 0xac,
      0xcd},
     offsetof(struct attest_collateral, vcek),
     false,
     true},
    {{0xa8, 0x07, 0x4b, 0xc2, 0xa2, 0x5a, 0x48, 0x3e, 0xaa, 0xe6, 0x39, 0xc0, 0x45, 0xa0, 0xb8,
      0xa1},
     offsetof(struct attest_collateral, vlek),
     true,
     false},
    {{0x4a, 0xb7, 0xb3, 0x79, 0xbb, 0xac, 0x4f, 0xe4, 0xa0, 0x2f, 0x05, 0xae, 0xf3, 0x27, 0xc7,
      0x82},
     offsetof(struct attest_collateral, ask),
     false,
     true},
    {{0x4a, 0xb7, 0xb3, 0x79, 0xbb, 0xac, 0x4f, 0xe4, 0xa0, 0x2f, 0x05, 0xae, 0xf3, 0x27, 0xc7,
      0x82},
     offsetof(struct attest_collateral, asvk),
     true,
     false},
    {{0xc0, 0xb4, 0x06, 0xa4, 0xa8, 0x03, 0x49, 0x52, 0x97, 0x43, 0x3f, 0xb6, 0x01, 0x4c, 0xd0,
      0xae},
     offsetof(struct attest_collateral, ark),
     false,
     false},
};

static struct bytes *member_of(struct attest_collateral *c, size_t offset)
{
    return (struct bytes *)(void *)((uint8_t *)c + offset);
}

/* One entry of the table into the collateral; false for names that we do not know. */
static bool take_entry(struct bytes guid, struct bytes blob, bool is_vlek,
                       struct attest_collateral *to)
{
    for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
        struct bytes *slot = member_of(to, entries[i].member);

        if (memcmp(guid.p, entries[i].guid, GUID_LEN) != 0 || (entries[i].needs_vlek && !is_vlek) ||
            (entries[i].needs_vcek && is_vlek)) {
            continue;
        }
        if (slot->n != 0) {
            return false; /* twice */
        }
        *slot = blob;
        return true;
    }
    return false;
}

/* Where one blob lies in the table. */
struct extent {
    size_t from, to;
};

/* ATT-27: table and blobs cover every byte once, so that none can change unnoticed. */
static bool covers_once(const struct extent *e, size_t n, size_t table_n)
{
    size_t used = 0;

    for (size_t i = 0; i < n; i++) {
        used += e[i].to - e[i].from;
        for (size_t j = 0; j < i; j++) {
            if (e[i].from < e[j].to && e[j].from < e[i].to) {
                return false;
            }
        }
    }
    return used == table_n;
}

static bool read_table(struct bytes table, bool is_vlek, struct attest_collateral *to)
{
    static const uint8_t end[GUID_LEN];
    struct reader r = {.rest = table};
    struct extent e[TABLE_ENTRIES_MAX + 1] = {0}; /* [0]: the table itself */

    for (size_t i = 1; i <= TABLE_ENTRIES_MAX; i++) {
        struct bytes guid = get_bytes(&r, GUID_LEN), blob;
        uint32_t offset = get_u32(&r), n = get_u32(&r);

        if (r.failed) {
            return false;
        }
        e[0].to += TABLE_ENTRY_LEN;
        if (memcmp(guid.p, end, GUID_LEN) == 0) {
            return offset == 0 && n == 0 && covers_once(e, i, table.n);
        }
        if (!bytes_slice(table, offset, n, &blob) || n == 0 ||
            !take_entry(guid, blob, is_vlek, to)) {
            return false;
        }
        e[i] = (struct extent){offset, (size_t)offset + n};
    }
    return false;
}

/* The extension's INTEGER of at most 255. */
static bool spl(X509 *cert, const char *oid, uint8_t *ret)
{
    struct bytes rest = attest_cert_extension(cert, oid);
    struct attest_der e;
    uint32_t v = 0;

    if (!attest_der_next(&rest, &e) || rest.n != 0 || !attest_der_uint(&e, &v) || v > UINT8_MAX) {
        return false;
    }
    *ret = (uint8_t)v;
    return true;
}

static enum attest_product product_of(X509 *cert)
{
    struct bytes rest = attest_cert_extension(cert, AMD "2");
    struct attest_der e;

    if (!attest_der_next(&rest, &e) || rest.n != 0 || e.tag != V_ASN1_IA5STRING) {
        return ATTEST_PRODUCT_UNKNOWN;
    }
    for (unsigned i = 1; i < ATTEST_PRODUCTS_N; i++) {
        const char *name = attest_product_name((enum attest_product)i);
        size_t n = strlen(name);

        /* "Milan-B0": what follows the hyphen is the stepping */
        if (e.content.n >= n && memcmp(e.content.p, name, n) == 0 &&
            (e.content.n == n || e.content.p[n] == '-')) {
            return (enum attest_product)i;
        }
    }
    return ATTEST_PRODUCT_UNKNOWN;
}

/* Raw bytes in some certificates, an OCTET STRING in others. */
static struct bytes hwid_of(X509 *cert, size_t n)
{
    struct bytes raw = attest_cert_extension(cert, AMD "4"), rest = raw;
    struct attest_der e;

    if (raw.n != n && attest_der_next(&rest, &e) && rest.n == 0 && e.tag == V_ASN1_OCTET_STRING) {
        raw = e.content;
    }
    return raw.n == n ? raw : (struct bytes){0};
}

RESULT attest_vcek_read(X509 *cert, bool is_vlek, struct attest_vcek *ret)
{
    struct attest_vcek c = {.product = product_of(cert)};

    if (c.product == ATTEST_PRODUCT_UNKNOWN || !spl(cert, AMD "3.1", &c.tcb.bootloader) ||
        !spl(cert, AMD "3.2", &c.tcb.tee) || !spl(cert, AMD "3.3", &c.tcb.snp) ||
        !spl(cert, AMD "3.8", &c.tcb.microcode) ||
        (c.product == ATTEST_TURIN && !spl(cert, AMD "3.9", &c.tcb.fmc))) {
        return ERR_MALFORMED;
    }
    if (is_vlek) {
        c.csp = attest_cert_extension(cert, AMD "5");
    } else {
        c.hwid = hwid_of(cert, c.product == ATTEST_TURIN ? 8 : ATTEST_HWID_MAX);
    }
    if (is_vlek ? c.csp.n == 0 : c.hwid.n == 0) {
        return ERR_MALFORMED;
    }
    *ret = c;
    return OK;
}

/* One certificate of the chain: from its file, from the host's table, or the same from both. */
static X509 *load(const char *name, struct bytes file, struct bytes entry, struct attest_verdict *v)
{
    X509 *cert = NULL, *again = NULL;
    struct explain why = {0};

    if (file.n == 0 && entry.n == 0) {
        attest_fail(v, ATTEST_RULE_NO_VCEK, name, "neither a file %s nor an entry of auxblob.bin",
                    name);
        return NULL;
    }
    if (attest_cert_load(file.n != 0 ? file : entry, &cert, &why) != OK) {
        attest_fail(v, ATTEST_RULE_MALFORMED_CHAIN, "one certificate in canonical DER or PEM",
                    "%s: %s", name, why.text);
        return NULL;
    }
    if (file.n == 0 || entry.n == 0) {
        return cert;
    }
    if (attest_cert_load(entry, &again, &why) != OK || X509_cmp(cert, again) != 0) {
        attest_fail(v, ATTEST_RULE_COLLATERAL_MISMATCH, "the certificate of the file",
                    "auxblob.bin has another for %s", name);
    }
    X509_free(again);
    return cert;
}

void attest_snp_chain_load(const struct attest_input *in, bool is_vlek, struct attest_verdict *v,
                           struct attest_chain *ret)
{
    const struct attest_collateral *f = &in->collateral;
    struct attest_collateral table = {0};
    struct attest_chain c = {0};

    if (f->auxblob.n > 0 && !read_table(f->auxblob, is_vlek, &table)) {
        attest_fail(v, ATTEST_RULE_COLLATERAL_MALFORMED, "a certificate table, whole and known",
                    "auxblob.bin is none");
        table = (struct attest_collateral){0};
    }
    if (is_vlek) {
        c.cert[0] = load("vlek.der", f->vlek, table.vlek, v);
        c.cert[1] = load("asvk.pem", f->asvk, table.asvk, v);
    } else {
        c.cert[0] = load("vcek.der", f->vcek, table.vcek, v);
        c.cert[1] = load("ask.pem", f->ask, table.ask, v);
    }
    c.cert[2] = load("ark.pem", f->ark, table.ark, v);
    c.n = 3;
    if (c.cert[0] == NULL || c.cert[1] == NULL || c.cert[2] == NULL) {
        attest_chain_free(&c);
    }
    *ret = c;
}
