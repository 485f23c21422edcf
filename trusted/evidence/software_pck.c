// SPDX-License-Identifier: Apache-2.0
/* The extension of a PCK certificate: a fixed shape, written with the structures of ATT-10. */
#include "trusted/evidence/software_internal.h"

#include "trusted/attest/attest.h"

#include <openssl/asn1t.h>
#include <openssl/objects.h>

#include <stdlib.h>

enum { COMPONENTS_N = 16, PPID_LEN = 16, CPUSVN_LEN = 16 };

#define SGX "1.2.840.113741.1.13.1"

/* { OID, ANY } */
struct pair {
    ASN1_OBJECT *id;
    ASN1_TYPE *value;
};
typedef struct pair PAIR;
ASN1_SEQUENCE(PAIR) =
    {
        ASN1_SIMPLE(PAIR, id, ASN1_OBJECT),
        ASN1_SIMPLE(PAIR, value, ASN1_ANY),
} static_ASN1_SEQUENCE_END(PAIR)

        typedef STACK_OF(PAIR) PAIRS;
DEFINE_STACK_OF(PAIR)
ASN1_ITEM_TEMPLATE(PAIRS) = ASN1_EX_TEMPLATE_TYPE(ASN1_TFLG_SEQUENCE_OF, 0, PAIRS, PAIR)
                                static_ASN1_ITEM_TEMPLATE_END(PAIRS)

                                    static PAIRS
                            * pairs_new(void)
{
    return sk_PAIR_new_null();
}

static void pairs_free(PAIRS *list)
{
    ASN1_item_free((ASN1_VALUE *)list, ASN1_ITEM_rptr(PAIRS));
}

/* Takes `value` over in any case. */
static bool add(PAIRS *list, const char *oid, int type, void *value)
{
    PAIR *p = (PAIR *)ASN1_item_new(ASN1_ITEM_rptr(PAIR));
    bool good = p != NULL && value != NULL && list != NULL;

    if (good) {
        ASN1_OBJECT_free(p->id);
        p->id = OBJ_txt2obj(oid, 1);
        ASN1_TYPE_set(p->value, type, value);
        good = p->id != NULL && sk_PAIR_push(list, p) > 0;
    } else if (value != NULL) {
        ASN1_STRING_free(value);
    }
    if (!good) {
        ASN1_item_free((ASN1_VALUE *)p, ASN1_ITEM_rptr(PAIR));
    }
    return good;
}

static bool add_integer(PAIRS *list, const char *oid, long v)
{
    ASN1_INTEGER *i = ASN1_INTEGER_new();

    if (i != NULL && ASN1_INTEGER_set(i, v) != 1) {
        ASN1_INTEGER_free(i);
        i = NULL;
    }
    return add(list, oid, V_ASN1_INTEGER, i);
}

static bool add_octets(PAIRS *list, const char *oid, const uint8_t *p, int n)
{
    ASN1_OCTET_STRING *s = ASN1_OCTET_STRING_new();

    if (s != NULL && ASN1_OCTET_STRING_set(s, p, n) != 1) {
        ASN1_OCTET_STRING_free(s);
        s = NULL;
    }
    return add(list, oid, V_ASN1_OCTET_STRING, s);
}

/* The DER of a list as the value of a pair. */
static bool add_list(PAIRS *to, const char *oid, const PAIRS *list)
{
    unsigned char *der = NULL;
    int n = ASN1_item_i2d((const ASN1_VALUE *)list, &der, ASN1_ITEM_rptr(PAIRS));
    ASN1_STRING *s = n > 0 ? ASN1_STRING_type_new(V_ASN1_SEQUENCE) : NULL;

    if (s != NULL && ASN1_STRING_set(s, der, n) != 1) {
        ASN1_STRING_free(s);
        s = NULL;
    }
    OPENSSL_free(der);
    return add(to, oid, V_ASN1_SEQUENCE, s);
}

static bool add_tcb(PAIRS *to, uint8_t svn)
{
    PAIRS *list = pairs_new();
    uint8_t cpusvn[CPUSVN_LEN];
    bool good = list != NULL;
    char oid[48];

    memset(cpusvn, svn, sizeof(cpusvn));
    for (int i = 1; good && i <= COMPONENTS_N; i++) {
        (void)BIO_snprintf(oid, sizeof(oid), SGX ".2.%d", i);
        good = add_integer(list, oid, svn);
    }
    good = good && add_integer(list, SGX ".2.17", SOFTWARE_PCESVN) &&
           add_octets(list, SGX ".2.18", cpusvn, CPUSVN_LEN) && add_list(to, SGX ".2", list);
    pairs_free(list);
    return good;
}

struct mbytes software_pck_extension(uint8_t svn)
{
    static const uint8_t fmspc[6] = {'S', 'O', 'F', 'T', 0, 0};
    static const uint8_t ppid[PPID_LEN] = "Avocado software", pceid[2] = {0};
    PAIRS *list = pairs_new();
    unsigned char *der = NULL;
    struct mbytes ret = {0};
    int n = 0;

    if (list != NULL && add_octets(list, SGX ".1", ppid, PPID_LEN) && add_tcb(list, svn) &&
        add_octets(list, SGX ".3", pceid, sizeof(pceid)) &&
        add_octets(list, SGX ".4", fmspc, sizeof(fmspc))) {
        n = ASN1_item_i2d((const ASN1_VALUE *)list, &der, ASN1_ITEM_rptr(PAIRS));
    }
    if (n > 0 && (ret.p = malloc((size_t)n)) != NULL) {
        memcpy(ret.p, der, (size_t)n);
        ret.n = (size_t)n;
    }
    OPENSSL_free(der);
    pairs_free(list);
    return ret;
}
