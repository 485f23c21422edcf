// SPDX-License-Identifier: Apache-2.0
#include "trusted/crypto/aead_internal.h"

#ifdef HAVE_IPSEC_MB

#include "trusted/crypto/ct.h"

#include <intel-ipsec-mb.h>
#include <stdlib.h>

_Static_assert(sizeof(struct gcm_key_data) <= sizeof(struct aead_key), "enlarge aead_key.opaque");
_Static_assert(_Alignof(struct gcm_key_data) <= _Alignof(struct aead_key), "align aead_key more");
_Static_assert(IMB_GCM_256_KEY_LEN == sizeof(struct secret), "AES-256");

static const uint64_t CPU_NEEDS = IMB_FEATURE_AESNI | IMB_FEATURE_PCLMULQDQ;

/* The direct calls need no job manager; it is the table that init_mb_mgr_auto fills with the
 * functions for this CPU. */
struct ipsec_mb {
    struct aead base;
    IMB_MGR *mgr;
    struct gcm_context_data scratch;
};

static struct ipsec_mb *of(struct aead *a)
{
    return (struct ipsec_mb *)a;
}

static const struct gcm_key_data *expanded(const struct aead_key *k)
{
    return (const void *)k->opaque;
}

static void close_state(struct aead *a)
{
    struct ipsec_mb *m = of(a);

    free_mb_mgr(m->mgr);
    wipe(m, sizeof(*m));
    free(m);
}

static void key_init(struct aead *a, struct aead_key *k, const struct secret *key)
{
    IMB_AES256_GCM_PRE(of(a)->mgr, key->b, (struct gcm_key_data *)(void *)k->opaque);
}

static void key_fini(struct aead *a, const struct aead_key *k)
{
    (void)a;
    (void)k;
}

static void seal(struct aead *a, const struct aead_key *k, const struct aead_io *io,
                 uint8_t ret_tag[static AEAD_TAG_LEN])
{
    struct ipsec_mb *m = of(a);

    IMB_AES256_GCM_ENC(m->mgr, expanded(k), &m->scratch, io->out, io->in, io->n, io->nonce,
                       io->aad.p, io->aad.n, ret_tag, AEAD_TAG_LEN);
}

static bool open(struct aead *a, const struct aead_key *k, const struct aead_io *io,
                 const uint8_t tag[static AEAD_TAG_LEN])
{
    struct ipsec_mb *m = of(a);
    uint8_t want[AEAD_TAG_LEN];

    /* A call that was refused leaves `want` alone; then it must not match. */
    for (size_t i = 0; i < sizeof(want); i++) {
        want[i] = (uint8_t)~tag[i];
    }
    IMB_AES256_GCM_DEC(m->mgr, expanded(k), &m->scratch, io->out, io->in, io->n, io->nonce,
                       io->aad.p, io->aad.n, want, AEAD_TAG_LEN);
    return ct_equal(want, tag, AEAD_TAG_LEN);
}

static const char *name_of(const IMB_MGR *mgr)
{
    const uint64_t wide = IMB_FEATURE_VAES | IMB_FEATURE_VPCLMULQDQ;

    switch (mgr->used_arch) {
    case IMB_ARCH_AVX512:
        return (mgr->features & wide) == wide ? "ipsec-mb avx512-vaes" : "ipsec-mb avx512";
    case IMB_ARCH_AVX2:
        return "ipsec-mb avx2";
    case IMB_ARCH_AVX:
        return "ipsec-mb avx";
    case IMB_ARCH_SSE:
        return "ipsec-mb sse";
    default:
        return NULL; /* without AES instructions: slow, and not in constant time */
    }
}

struct aead *aead_ipsec_mb_open(void)
{
    static const struct aead_ops ops = {.close = close_state,
                                        .key_init = key_init,
                                        .key_fini = key_fini,
                                        .seal = seal,
                                        .open = open};
    struct ipsec_mb *m;

    if ((imb_get_feature_flags() & CPU_NEEDS) != CPU_NEEDS) {
        return NULL;
    }
    m = aligned_alloc(_Alignof(struct ipsec_mb), sizeof(*m));
    if (m == NULL) {
        return NULL;
    }
    *m = (struct ipsec_mb){.base = {.ops = &ops}, .mgr = alloc_mb_mgr(0)};
    if (m->mgr != NULL) {
        init_mb_mgr_auto(m->mgr, NULL);
        m->base.name = imb_get_errno(m->mgr) == 0 ? name_of(m->mgr) : NULL;
    }
    if (m->base.name == NULL) {
        if (m->mgr != NULL) {
            free_mb_mgr(m->mgr);
        }
        free(m);
        return NULL;
    }
    return &m->base;
}

enum aead_impl aead_best(void)
{
    return (imb_get_feature_flags() & CPU_NEEDS) == CPU_NEEDS ? AEAD_IPSEC_MB : AEAD_OPENSSL;
}

#else

struct aead *aead_ipsec_mb_open(void)
{
    return NULL;
}

enum aead_impl aead_best(void)
{
    return AEAD_OPENSSL;
}

#endif
