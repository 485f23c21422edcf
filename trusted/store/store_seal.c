// SPDX-License-Identifier: Apache-2.0
#include "trusted/store/store_seal.h"

#include "common/check.h"
#include "common/codec.h"
#include "common/copy_in.h"
#include "trusted/crypto/kdf.h"

enum { LINE = 64, PREFETCH_LINES = 3 };

void store_seal_init(struct store_sealer *s, struct aead *aead, uint32_t shard,
                     const struct secret *master)
{
    SECRET_LOCAL key;

    kdf_secret(master, "avocado store value key", &key);
    s->aead = aead;
    s->shard = shard;
    s->counter = 0;
    s->page_counter = 0;
    aead_key_init(aead, &s->key, &key);
    kdf_secret(master, "avocado store page key", &key);
    aead_key_init(aead, &s->page_key, &key);
}

void store_seal_fini(struct store_sealer *s)
{
    aead_key_fini(s->aead, &s->key);
    aead_key_fini(s->aead, &s->page_key);
    wipe(s->chunk, sizeof(s->chunk));
}

uint32_t store_seal_block(uint32_t padded)
{
    uint32_t chunks = (padded + STORE_CHUNK - 1) / STORE_CHUNK;

    return padded == 0 ? 0 : padded + chunks * AEAD_TAG_LEN + STORE_COUNTER_LEN;
}

/* STORE-4: every field but the last has a fixed length, so two bindings never encode alike. */
static struct bytes encode_aad(struct store_sealer *s, const struct store_binding *b)
{
    struct writer w = {.to = {.p = s->aad, .n = sizeof(s->aad)}};
    struct bytes aad = {.p = s->aad};

    put_u32(&w, s->shard);
    put_tag(&w, b->tag);
    put_u32(&w, b->value_len);
    put_bytes(&w, b->key);
    CHECK(writer_done(&w, &aad.n));
    return aad;
}

static void encode_nonce(uint64_t counter, uint32_t chunk, uint8_t ret[static AEAD_IV_LEN])
{
    memcpy(ret, &counter, sizeof(counter));
    memcpy(ret + sizeof(counter), &chunk, sizeof(chunk));
}

void store_seal_put(struct store_sealer *s, const struct store_binding *b, struct bytes value,
                    uint32_t padded, uint8_t *to)
{
    uint8_t nonce[AEAD_IV_LEN];
    struct bytes aad;
    uint32_t left = padded;

    CHECK(s->counter < UINT64_MAX && value.n == b->value_len && value.n <= padded);
    s->counter++;
    for (uint32_t i = 0; i < PREFETCH_LINES; i++) {
        __builtin_prefetch(to + (size_t)i * LINE, 1); /* host memory: on its way while we seal */
    }
    aad = encode_aad(s, b);
    for (uint32_t chunk = 0; left > 0; chunk++) {
        uint32_t n = left < STORE_CHUNK ? left : STORE_CHUNK;
        size_t take = value.n < n ? value.n : n;

        if (take > 0) {
            memcpy(s->chunk, value.p, take);
            value = (struct bytes){.p = value.p + take, .n = value.n - take};
        }
        memset(s->chunk + take, 0, n - take);
        encode_nonce(s->counter, chunk, nonce);
        /* Not straight into host memory: the authenticator is computed over the ciphertext, and the
         * host could have it computed over bytes of its own. */
        aead_seal(s->aead, &s->key, nonce, aad, (struct bytes){s->chunk, n}, s->chunk);
        memcpy(to, s->chunk, n + AEAD_TAG_LEN);
        to += n + AEAD_TAG_LEN;
        left -= n;
    }
    memcpy(to, &s->counter, sizeof(s->counter));
}

RESULT store_seal_get(struct store_sealer *s, const struct store_binding *b, uint32_t padded,
                      const uint8_t *from, struct mbytes to)
{
    uint8_t nonce[AEAD_IV_LEN];
    uint64_t counter;
    struct bytes aad;
    uint32_t at = 0;

    CHECK(b->value_len <= to.n && b->value_len <= padded);
    for (uint32_t i = 0; i < PREFETCH_LINES; i++) {
        __builtin_prefetch(from + (size_t)i * LINE);
    }
    copy_in(&counter, from + store_seal_block(padded) - STORE_COUNTER_LEN, sizeof(counter));
    aad = encode_aad(s, b);
    for (uint32_t chunk = 0; at < padded; chunk++) {
        uint32_t n = padded - at < STORE_CHUNK ? padded - at : STORE_CHUNK;
        bool direct = at + n <= to.n; /* else the padding does not fit */

        copy_in(s->chunk, from, n + AEAD_TAG_LEN);
        encode_nonce(counter, chunk, nonce);
        if (aead_open(s->aead, &s->key, nonce, aad, (struct bytes){s->chunk, n + AEAD_TAG_LEN},
                      direct ? to.p + at : s->chunk) != OK) {
            if (b->value_len > 0) {
                memset(to.p, 0, b->value_len);
            }
            return ERR_INTEGRITY;
        }
        if (!direct && at < b->value_len) {
            memcpy(to.p + at, s->chunk, b->value_len - at);
        }
        from += n + AEAD_TAG_LEN;
        at += n;
    }
    return OK;
}

static struct bytes page_aad(struct store_sealer *s)
{
    struct writer w = {.to = {.p = s->aad, .n = sizeof(s->aad)}};
    struct bytes aad = {.p = s->aad};

    put_u32(&w, s->shard);
    CHECK(writer_done(&w, &aad.n));
    return aad;
}

uint64_t store_seal_page(struct store_sealer *s, const void *page, uint32_t n, uint8_t *to)
{
    uint8_t nonce[AEAD_IV_LEN];

    CHECK(s->page_counter < UINT64_MAX && n <= STORE_CHUNK);
    s->page_counter++;
    encode_nonce(s->page_counter, 0, nonce);
    aead_seal(s->aead, &s->page_key, nonce, page_aad(s), (struct bytes){page, n}, s->chunk);
    memcpy(to, s->chunk, n + AEAD_TAG_LEN);
    return s->page_counter;
}

RESULT store_open_page(struct store_sealer *s, uint64_t counter, const uint8_t *from, uint32_t n,
                       void *to)
{
    uint8_t nonce[AEAD_IV_LEN];

    CHECK(n <= STORE_CHUNK);
    for (uint32_t i = 0; i < n + AEAD_TAG_LEN; i += LINE) {
        __builtin_prefetch(from + i);
    }
    encode_nonce(counter, 0, nonce);
    copy_in(s->chunk, from, n + AEAD_TAG_LEN);
    if (aead_open(s->aead, &s->page_key, nonce, page_aad(s),
                  (struct bytes){s->chunk, n + AEAD_TAG_LEN}, to) != OK) {
        return ERR_INTEGRITY;
    }
    return OK;
}
