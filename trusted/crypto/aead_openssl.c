// SPDX-License-Identifier: Apache-2.0
#include "common/check.h"
#include "trusted/crypto/aead_internal.h"
#include "trusted/crypto/ct.h"

#include <openssl/evp.h>
#include <stdlib.h>

/*
 * OpenSSL keeps an expanded key in a context of its own heap, which an aead_key cannot hold. So an
 * aead_key holds the raw key, and the contexts of the keys used last are kept here: a key names
 * the one slot where its context may be. Whether it is there is decided by comparing keys, never
 * by the slot: a key may be used with another struct aead than the one that prepared it.
 */
enum { SLOTS = 64 };

struct raw_key {
    struct secret key;
    uint32_t slot;
};
_Static_assert(sizeof(struct raw_key) <= sizeof(struct aead_key), "enlarge aead_key.opaque");

struct slot {
    EVP_CIPHER_CTX *ctx;
    struct secret key;
    bool keyed;
};

struct openssl {
    struct aead base;
    EVP_CIPHER *cipher;
    uint32_t keys_made;
    struct slot slots[SLOTS];
};

static struct openssl *of(struct aead *a)
{
    return (struct openssl *)a;
}

static const struct raw_key *raw(const struct aead_key *k)
{
    return (const void *)k->opaque;
}

static void close_state(struct aead *a)
{
    struct openssl *o = of(a);

    for (uint32_t i = 0; i < SLOTS; i++) {
        EVP_CIPHER_CTX_free(o->slots[i].ctx);
    }
    EVP_CIPHER_free(o->cipher);
    wipe(o, sizeof(*o));
    free(o);
}

static void key_init(struct aead *a, struct aead_key *k, const struct secret *key)
{
    struct raw_key *r = (void *)k->opaque;

    *r = (struct raw_key){.key = *key, .slot = of(a)->keys_made++ % SLOTS};
}

static void key_fini(struct aead *a, const struct aead_key *k)
{
    struct slot *s = &of(a)->slots[raw(k)->slot % SLOTS];

    if (s->keyed && ct_equal(&s->key, &raw(k)->key, sizeof(s->key))) {
        CHECK(EVP_CIPHER_CTX_reset(s->ctx) == 1); /* wipes what it expanded */
        secret_wipe(&s->key);
        s->keyed = false;
    }
}

/* A context with the key, the nonce and the direction set and the associated data taken in. */
static EVP_CIPHER_CTX *begin(struct aead *a, const struct aead_key *k, const struct aead_io *io,
                             bool seals)
{
    struct openssl *o = of(a);
    const struct raw_key *r = raw(k);
    struct slot *s = &o->slots[r->slot % SLOTS];
    int len = 0;

    if (s->keyed && ct_equal(&s->key, &r->key, sizeof(s->key))) {
        CHECK(EVP_CipherInit_ex(s->ctx, NULL, NULL, NULL, io->nonce, seals) == 1);
    } else {
        CHECK(EVP_CipherInit_ex(s->ctx, o->cipher, NULL, r->key.b, io->nonce, seals) == 1);
        s->key = r->key;
        s->keyed = true;
    }
    CHECK(io->aad.n == 0 || EVP_CipherUpdate(s->ctx, NULL, &len, io->aad.p, (int)io->aad.n) == 1);
    CHECK(io->n == 0 ||
          (EVP_CipherUpdate(s->ctx, io->out, &len, io->in, (int)io->n) == 1 && len == (int)io->n));
    return s->ctx;
}

static void seal(struct aead *a, const struct aead_key *k, const struct aead_io *io,
                 uint8_t ret_tag[static AEAD_TAG_LEN])
{
    EVP_CIPHER_CTX *ctx = begin(a, k, io, true);
    uint8_t none[16];
    int len = 0;

    CHECK(EVP_CipherFinal_ex(ctx, none, &len) == 1 && len == 0);
    CHECK(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG_LEN, ret_tag) == 1);
}

static bool open(struct aead *a, const struct aead_key *k, const struct aead_io *io,
                 const uint8_t tag[static AEAD_TAG_LEN])
{
    EVP_CIPHER_CTX *ctx = begin(a, k, io, false);
    uint8_t want[AEAD_TAG_LEN], none[16];
    int len = 0;

    memcpy(want, tag, sizeof(want));
    CHECK(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, AEAD_TAG_LEN, want) == 1);
    /* Compares with CRYPTO_memcmp, in constant time. */
    return EVP_CipherFinal_ex(ctx, none, &len) == 1;
}

struct aead *aead_openssl_open(void)
{
    static const struct aead_ops ops = {.close = close_state,
                                        .key_init = key_init,
                                        .key_fini = key_fini,
                                        .seal = seal,
                                        .open = open};
    struct openssl *o = calloc(1, sizeof(*o));

    if (o == NULL) {
        return NULL;
    }
    o->base = (struct aead){.ops = &ops, .name = "openssl"};
    o->cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    for (uint32_t i = 0; i < SLOTS; i++) {
        o->slots[i].ctx = EVP_CIPHER_CTX_new();
        if (o->cipher == NULL || o->slots[i].ctx == NULL) {
            close_state(&o->base);
            return NULL;
        }
    }
    return &o->base;
}
