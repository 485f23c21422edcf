// SPDX-License-Identifier: Apache-2.0
#include "trusted/crypto/aead.h"

#include "common/check.h"
#include "trusted/crypto/aead_internal.h"
#include "trusted/crypto/ct.h"

enum { AAD_MAX = 65536 };

static const uint8_t NOTHING[1];

static bool in_place_or_apart(const uint8_t *a, size_t a_n, const uint8_t *b, size_t b_n)
{
    uintptr_t x = (uintptr_t)a, y = (uintptr_t)b;

    return x == y || (x < y ? y - x >= a_n : x - y >= b_n);
}

static struct bytes never_null(struct bytes b)
{
    return b.n != 0 ? b : (struct bytes){.p = NOTHING};
}

void aead_key_init(struct aead *a, struct aead_key *k, const struct secret *key)
{
    a->ops->key_init(a, k, key);
}

void aead_key_fini(struct aead *a, struct aead_key *k)
{
    a->ops->key_fini(a, k);
    wipe(k, sizeof(*k));
}

void aead_seal(struct aead *a, const struct aead_key *k, const uint8_t nonce[static AEAD_IV_LEN],
               struct bytes aad, struct bytes plain, uint8_t *to)
{
    plain = never_null(plain);
    aad = never_null(aad);
    CHECK(plain.n <= MESSAGE_MAX && aad.n <= AAD_MAX);
    CHECK(in_place_or_apart(plain.p, plain.n, to, plain.n + AEAD_TAG_LEN));
    a->ops->seal(
        a, k, &(struct aead_io){.nonce = nonce, .aad = aad, .in = plain.p, .out = to, .n = plain.n},
        to + plain.n);
}

RESULT aead_open(struct aead *a, const struct aead_key *k, const uint8_t nonce[static AEAD_IV_LEN],
                 struct bytes aad, struct bytes sealed, uint8_t *to)
{
    uint8_t none[1];
    size_t n;

    if (sealed.n < AEAD_TAG_LEN) {
        return ERR_MALFORMED;
    }
    n = sealed.n - AEAD_TAG_LEN;
    aad = never_null(aad);
    CHECK(n <= MESSAGE_MAX && aad.n <= AAD_MAX);
    CHECK(in_place_or_apart(sealed.p, sealed.n, to, n));
    if (!a->ops->open(
            a, k,
            &(struct aead_io){
                .nonce = nonce, .aad = aad, .in = sealed.p, .out = n != 0 ? to : none, .n = n},
            sealed.p + n)) {
        wipe(to, n);
        return ERR_AUTH;
    }
    return OK;
}

/* McGrew and Viega, "The Galois/Counter Mode of Operation", test case 14: key and text all zero. An
 * implementation that does not know it is not there (CRY-6). */
static bool knows_its_trade(struct aead *a)
{
    static const uint8_t want[16 + AEAD_TAG_LEN] = {0xce, 0xa7, 0x40, 0x3d, 0x4d, 0x60, 0x6b, 0x6e,
                                                    0x07, 0x4e, 0xc5, 0xd3, 0xba, 0xf3, 0x9d, 0x18,
                                                    0xd0, 0xd1, 0xc8, 0xa7, 0x99, 0x99, 0x6b, 0xf0,
                                                    0x26, 0x5b, 0x98, 0xb5, 0xd4, 0x8a, 0xb9, 0x19};
    static const uint8_t nonce[AEAD_IV_LEN], text[16];
    static const struct secret key;
    struct bytes none = {0}, sealed = {want, sizeof(want)};
    uint8_t got[sizeof(want)], bad[sizeof(want)];
    struct aead_key k;
    bool good;

    aead_key_init(a, &k, &key);
    aead_seal(a, &k, nonce, none, (struct bytes){text, sizeof(text)}, got);
    good = ct_equal(got, want, sizeof(want));
    good = good && aead_open(a, &k, nonce, none, sealed, got) == OK && ct_equal(got, text, 16);
    memcpy(bad, want, sizeof(bad));
    bad[0] ^= 1;
    sealed.p = bad;
    good = good && aead_open(a, &k, nonce, none, sealed, got) == ERR_AUTH;
    aead_key_fini(a, &k);
    return good;
}

struct aead *aead_open_impl(enum aead_impl impl)
{
    struct aead *a = impl == AEAD_IPSEC_MB  ? aead_ipsec_mb_open()
                     : impl == AEAD_OPENSSL ? aead_openssl_open()
                                            : NULL;

    if (a != NULL && !knows_its_trade(a)) {
        aead_close_impl(a);
        return NULL;
    }
    return a;
}

void aead_close_impl(struct aead *a)
{
    if (a != NULL) {
        a->ops->close(a);
    }
}

const char *aead_name(const struct aead *a)
{
    return a->name;
}
