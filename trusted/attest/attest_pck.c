// SPDX-License-Identifier: Apache-2.0
#include "trusted/attest/attest_pck.h"

#define SGX_EXTENSION "1.2.840.113741.1.13.1"

/* DER of 1.2.840.113741.1.13.1, without tag and length. */
static const uint8_t sgx_oid[] = {0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01};

enum {
    PART_TCB = 2,
    PART_PCEID = 3,
    PART_FMSPC = 4,
    TCB_PCESVN = 17,
    TAG_SEQUENCE = 0x30,
    /* Sets of what was seen: one bit each. */
    SEEN_PCEID = 1 << 0,
    SEEN_FMSPC = 1 << 1,
    SEEN_PCESVN = 1 << 2,
    SEEN_COMPONENT_1 = 1 << 3, /* and 15 more */
    SEEN_ALL = (SEEN_COMPONENT_1 << ATTEST_COMPONENTS_N) - 1,
};

struct walk {
    struct attest_pck pck;
    uint32_t seen;
};

static bool see(struct walk *w, uint32_t bit)
{
    bool is_new = (w->seen & bit) == 0;

    w->seen |= bit;
    return is_new;
}

/* One { OID, value } of a sequence whose OIDs all lie under the extension's; `n` parts below it. */
static bool next_pair(struct bytes *rest, size_t n, const uint8_t **ret_suffix,
                      struct attest_der *ret_value)
{
    struct attest_der pair, oid;

    if (!attest_der_next(rest, &pair) || pair.tag != TAG_SEQUENCE ||
        !attest_der_next(&pair.content, &oid) || oid.tag != V_ASN1_OBJECT ||
        oid.content.n != sizeof(sgx_oid) + n ||
        memcmp(oid.content.p, sgx_oid, sizeof(sgx_oid)) != 0 ||
        !attest_der_next(&pair.content, ret_value) || pair.content.n != 0) {
        return false;
    }
    *ret_suffix = oid.content.p + sizeof(sgx_oid);
    return true;
}

static bool read_tcb(struct bytes rest, struct walk *w)
{
    while (rest.n > 0) {
        const uint8_t *suffix = NULL;
        struct attest_der value;
        uint32_t v = 0;

        if (!next_pair(&rest, 2, &suffix, &value) || suffix[0] != PART_TCB) {
            return false;
        }
        if (suffix[1] >= 1 && suffix[1] <= ATTEST_COMPONENTS_N) {
            if (!attest_der_uint(&value, &v) || v > UINT8_MAX ||
                !see(w, (uint32_t)SEEN_COMPONENT_1 << (suffix[1] - 1))) {
                return false;
            }
            w->pck.component[suffix[1] - 1] = (uint8_t)v;
        }
        if (suffix[1] == TCB_PCESVN) {
            if (!attest_der_uint(&value, &v) || v > UINT16_MAX || !see(w, SEEN_PCESVN)) {
                return false;
            }
            w->pck.pcesvn = (uint16_t)v;
        }
    }
    return true;
}

static bool read_octets(const struct attest_der *value, struct mbytes to)
{
    if (value->tag != V_ASN1_OCTET_STRING || value->content.n != to.n) {
        return false;
    }
    memcpy(to.p, value->content.p, to.n);
    return true;
}

static bool read_part(uint8_t part, const struct attest_der *value, struct walk *w)
{
    switch (part) {
    case PART_TCB:
        return value->tag == TAG_SEQUENCE && read_tcb(value->content, w);
    case PART_PCEID:
        return see(w, SEEN_PCEID) &&
               read_octets(value, (struct mbytes){w->pck.pceid, sizeof(w->pck.pceid)});
    case PART_FMSPC:
        return see(w, SEEN_FMSPC) &&
               read_octets(value, (struct mbytes){w->pck.fmspc, sizeof(w->pck.fmspc)});
    default: /* PPID, SGX type, platform instance, configuration: nothing is decided by them */
        return true;
    }
}

RESULT attest_pck_read(X509 *leaf, struct attest_pck *ret)
{
    struct bytes rest = attest_cert_extension(leaf, SGX_EXTENSION);
    struct attest_der all;
    struct walk w = {0};

    if (!attest_der_next(&rest, &all) || all.tag != TAG_SEQUENCE || rest.n != 0) {
        return ERR_MALFORMED;
    }
    while (all.content.n > 0) {
        const uint8_t *suffix = NULL;
        struct attest_der value;

        if (!next_pair(&all.content, 1, &suffix, &value) || !read_part(*suffix, &value, &w)) {
            return ERR_MALFORMED;
        }
    }
    if (w.seen != SEEN_ALL) {
        return ERR_MALFORMED;
    }
    *ret = w.pck;
    return OK;
}
