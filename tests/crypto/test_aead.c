// SPDX-License-Identifier: Apache-2.0
#include "common/prng.h"
#include "trusted/crypto/aead.h"
#include "trusted/crypto/ct.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { IMPLS = 2, TEXT_MAX = 1 << 20, AAD_MAX = 256 };

struct fixture {
    struct aead *impl[IMPLS]; /* those that this machine has */
    size_t impls_n;
    struct prng rng;
    uint8_t *plain, *sealed, *opened;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    f->rng.state = 7;
    f->plain = malloc(TEXT_MAX);
    f->sealed = malloc(TEXT_MAX + AEAD_TAG_LEN);
    f->opened = malloc(TEXT_MAX + AEAD_TAG_LEN);
    assert_non_null(f->plain);
    assert_non_null(f->sealed);
    assert_non_null(f->opened);
    f->impl[f->impls_n++] = aead_open_impl(AEAD_OPENSSL);
    assert_non_null(f->impl[0]);
    f->impl[f->impls_n] = aead_open_impl(AEAD_IPSEC_MB);
    f->impls_n += f->impl[f->impls_n] != NULL;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < f->impls_n; i++) {
        aead_close_impl(f->impl[i]);
    }
    aead_close_impl(NULL);
    free(f->plain);
    free(f->sealed);
    free(f->opened);
    free(f);
    return 0;
}

static void fill(struct prng *rng, uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        p[i] = (uint8_t)prng_u64(rng);
    }
}

static bool all_zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] != 0) {
            return false;
        }
    }
    return true;
}

static void test_the_best_is_there(void **state)
{
    struct fixture *f = *state;
    struct aead *a = aead_open_impl(aead_best());

    assert_non_null(a);
    assert_string_equal(aead_name(f->impl[0]), "openssl");
    if (f->impls_n == 2) {
        assert_int_equal(aead_best(), AEAD_IPSEC_MB);
        assert_memory_equal(aead_name(f->impl[1]), "ipsec-mb ", 9);
    } else {
        assert_int_equal(aead_best(), AEAD_OPENSSL);
    }
    aead_close_impl(a);
    assert_null(aead_open_impl((enum aead_impl)99));
}

/* One vector of gcm_vectors.txt. */
struct vector {
    struct secret key;
    uint8_t iv[AEAD_IV_LEN], tag[AEAD_TAG_LEN];
    uint8_t aad[AAD_MAX], pt[2048], ct[2048];
    size_t aad_n, pt_n, ct_n;
    bool fails;
};

static size_t from_hex(const char *hex, uint8_t *to, size_t cap)
{
    size_t n = strlen(hex) / 2;

    assert_true(strlen(hex) % 2 == 0 && n <= cap);
    for (size_t i = 0; i < n; i++) {
        const char pair[3] = {hex[2 * i], hex[2 * i + 1], 0};
        char *end = NULL;

        to[i] = (uint8_t)strtoul(pair, &end, 16);
        assert_ptr_equal(end, pair + 2);
    }
    return n;
}

/* False at the end of the file. */
static bool next_vector(FILE *from, struct vector *v)
{
    char line[8192];
    bool any = false;

    memset(v, 0, sizeof(*v));
    while (fgets(line, sizeof(line), from) != NULL) {
        char *value = strchr(line, '=');

        line[strcspn(line, "\n")] = 0;
        if (line[0] == 0 && any) {
            break;
        }
        if (line[0] == 0 || line[0] == '#') {
            continue;
        }
        assert_non_null(value);
        value += 1 + (value[1] == ' ');
        any = true;
        if (strncmp(line, "key ", 4) == 0) {
            assert_int_equal(from_hex(value, v->key.b, sizeof(v->key.b)), 32);
        } else if (strncmp(line, "iv ", 3) == 0) {
            assert_int_equal(from_hex(value, v->iv, sizeof(v->iv)), AEAD_IV_LEN);
        } else if (strncmp(line, "tag ", 4) == 0) {
            assert_int_equal(from_hex(value, v->tag, sizeof(v->tag)), AEAD_TAG_LEN);
        } else if (strncmp(line, "aad ", 4) == 0) {
            v->aad_n = from_hex(value, v->aad, sizeof(v->aad));
        } else if (strncmp(line, "ct ", 3) == 0) {
            v->ct_n = from_hex(value, v->ct, sizeof(v->ct));
        } else if (strncmp(line, "pt ", 3) == 0 && strcmp(value, "FAIL") == 0) {
            v->fails = true;
        } else if (strncmp(line, "pt ", 3) == 0) {
            v->pt_n = from_hex(value, v->pt, sizeof(v->pt));
        } else {
            assert_memory_equal(line, "source ", 7);
        }
    }
    return any;
}

static void check_vector(struct aead *a, const struct vector *v)
{
    uint8_t want[sizeof(v->ct) + AEAD_TAG_LEN], got[sizeof(want)];
    struct bytes aad = {v->aad, v->aad_n}, sealed = {want, v->ct_n + AEAD_TAG_LEN};
    struct aead_key k;

    memcpy(want, v->ct, v->ct_n);
    memcpy(want + v->ct_n, v->tag, AEAD_TAG_LEN);
    aead_key_init(a, &k, &v->key);
    if (v->fails) {
        memset(got, 0xee, sizeof(got));
        assert_int_equal(aead_open(a, &k, v->iv, aad, sealed, got), ERR_AUTH);
        assert_true(all_zero(got, v->ct_n));
    } else {
        aead_seal(a, &k, v->iv, aad, (struct bytes){v->pt, v->pt_n}, got);
        assert_memory_equal(got, want, sealed.n);
        assert_int_equal(aead_open(a, &k, v->iv, aad, sealed, got), OK);
        assert_memory_equal(got, v->pt, v->pt_n);
    }
    aead_key_fini(a, &k);
    assert_true(all_zero(k.opaque, sizeof(k.opaque))); /* CRY-7 */
}

static void test_known_answers(void **state)
{
    static struct vector v;
    struct fixture *f = *state;
    FILE *from = fopen(GCM_VECTORS, "r");
    size_t seals = 0, refusals = 0;

    assert_non_null(from);
    while (next_vector(from, &v)) {
        for (size_t i = 0; i < f->impls_n; i++) {
            check_vector(f->impl[i], &v);
        }
        seals += !v.fails;
        refusals += v.fails;
    }
    assert_int_equal(fclose(from), 0);
    assert_int_equal(seals, 40);
    assert_int_equal(refusals, 5);
}

/* Seals with each implementation, out of place and in place; opens with the other; all agree. */
static void cross_check(struct fixture *f, size_t n, size_t aad_n)
{
    uint8_t aad_bytes[AAD_MAX], nonce[AEAD_IV_LEN];
    struct bytes aad = {aad_n != 0 ? aad_bytes : NULL, aad_n}, plain = {f->plain, n};
    struct aead_key k[IMPLS];
    struct secret key;

    fill(&f->rng, key.b, sizeof(key.b));
    fill(&f->rng, nonce, sizeof(nonce));
    fill(&f->rng, aad_bytes, sizeof(aad_bytes));
    for (size_t i = 0; i < f->impls_n; i++) {
        aead_key_init(f->impl[i], &k[i], &key);
    }
    aead_seal(f->impl[0], &k[0], nonce, aad, plain, f->sealed);
    for (size_t i = 0; i < f->impls_n; i++) {
        struct bytes sealed = {f->sealed, n + AEAD_TAG_LEN};

        memset(f->opened, 0xee, n + AEAD_TAG_LEN);
        aead_seal(f->impl[i], &k[i], nonce, aad, plain, f->opened);
        assert_memory_equal(f->opened, f->sealed, sealed.n);
        if (n != 0) {
            memcpy(f->opened, f->plain, n);
        }
        aead_seal(f->impl[i], &k[i], nonce, aad, (struct bytes){f->opened, n}, f->opened);
        assert_memory_equal(f->opened, f->sealed, sealed.n);
        sealed.p = f->opened; /* in place */
        assert_int_equal(aead_open(f->impl[i], &k[i], nonce, aad, sealed, f->opened), OK);
        assert_memory_equal(f->opened, f->plain, n);
        sealed.p = f->sealed;
        memset(f->opened, 0xee, n + 1);
        assert_int_equal(aead_open(f->impl[i], &k[i], nonce, aad, sealed, f->opened), OK);
        assert_memory_equal(f->opened, f->plain, n);
        assert_int_equal(f->opened[n], 0xee);
    }
    for (size_t i = 0; i < f->impls_n; i++) {
        aead_key_fini(f->impl[i], &k[i]);
    }
}

static void test_implementations_agree(void **state)
{
    struct fixture *f = *state;

    fill(&f->rng, f->plain, TEXT_MAX);
    for (size_t aad_n = 0; aad_n <= 64; aad_n++) {
        cross_check(f, prng_below(&f->rng, 80), aad_n);
    }
    for (size_t n = 0; n <= 600; n++) {
        cross_check(f, n, prng_below(&f->rng, 65));
    }
    for (size_t i = 0; i < 600; i++) {
        cross_check(f, prng_below(&f->rng, 9001), prng_below(&f->rng, AAD_MAX + 1));
    }
    for (size_t i = 0; i < 6; i++) {
        cross_check(f, TEXT_MAX - prng_below(&f->rng, TEXT_MAX), 16);
    }
    cross_check(f, TEXT_MAX, 16);
}

static void expect_refusal(struct aead *a, const struct aead_key *k, const uint8_t *nonce,
                           struct bytes aad, struct bytes sealed)
{
    uint8_t to[2048];
    size_t n = sealed.n - AEAD_TAG_LEN;

    memset(to, 0xee, sizeof(to));
    assert_int_equal(aead_open(a, k, nonce, aad, sealed, to), ERR_AUTH);
    assert_true(all_zero(to, n));
    assert_int_equal(to[n], 0xee);
    memcpy(to, sealed.p, sealed.n); /* in place */
    assert_int_equal(aead_open(a, k, nonce, aad, (struct bytes){to, sealed.n}, to), ERR_AUTH);
    assert_true(all_zero(to, n));
}

/* CRY-4: not one bit of what is authenticated can change. */
static void every_flip(struct fixture *f, struct aead *a, size_t n, size_t aad_n)
{
    uint8_t nonce[AEAD_IV_LEN], aad_bytes[64], sealed_bytes[1024 + AEAD_TAG_LEN];
    struct bytes aad = {aad_bytes, aad_n}, sealed = {sealed_bytes, n + AEAD_TAG_LEN};
    struct aead_key k;
    struct secret key;

    fill(&f->rng, key.b, sizeof(key.b));
    fill(&f->rng, nonce, sizeof(nonce));
    fill(&f->rng, aad_bytes, sizeof(aad_bytes));
    aead_key_init(a, &k, &key);
    aead_seal(a, &k, nonce, aad, (struct bytes){f->plain, n}, sealed_bytes);
    for (size_t bit = 0; bit < sealed.n * 8; bit++) {
        sealed_bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
        expect_refusal(a, &k, nonce, aad, sealed);
        sealed_bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    for (size_t bit = 0; bit < sizeof(nonce) * 8; bit++) {
        nonce[bit / 8] ^= (uint8_t)(1U << bit % 8);
        expect_refusal(a, &k, nonce, aad, sealed);
        nonce[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    for (size_t bit = 0; bit < aad_n * 8; bit++) {
        aad_bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
        expect_refusal(a, &k, nonce, aad, sealed);
        aad_bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    for (size_t cut = 0; cut < aad_n; cut++) {
        expect_refusal(a, &k, nonce, (struct bytes){aad_bytes, cut}, sealed);
    }
    for (size_t cut = AEAD_TAG_LEN; cut < sealed.n; cut++) {
        expect_refusal(a, &k, nonce, aad, (struct bytes){sealed_bytes, cut});
    }
    assert_int_equal(aead_open(a, &k, nonce, aad, sealed, f->opened), OK);
    aead_key_fini(a, &k);
}

static void test_every_flipped_bit_is_refused(void **state)
{
    static const size_t sizes[] = {0, 1, 16, 61, 64, 128, 255, 521};
    struct fixture *f = *state;

    fill(&f->rng, f->plain, 1024);
    for (size_t i = 0; i < f->impls_n; i++) {
        for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
            every_flip(f, f->impl[i], sizes[s], s * 9 % 64);
        }
    }
}

static void test_too_short_to_have_a_tag(void **state)
{
    static const struct secret key;
    struct fixture *f = *state;
    uint8_t nonce[AEAD_IV_LEN] = {0}, sealed[AEAD_TAG_LEN] = {0}, to[1] = {0xee};

    for (size_t i = 0; i < f->impls_n; i++) {
        struct aead_key k;

        aead_key_init(f->impl[i], &k, &key);
        for (size_t n = 0; n < AEAD_TAG_LEN; n++) {
            assert_int_equal(
                aead_open(f->impl[i], &k, nonce, (struct bytes){0}, (struct bytes){sealed, n}, to),
                ERR_MALFORMED);
        }
        /* Nothing but a tag, and a wrong one: refused without touching `to`. */
        assert_int_equal(aead_open(f->impl[i], &k, nonce, (struct bytes){0},
                                   (struct bytes){sealed, AEAD_TAG_LEN}, to),
                         ERR_AUTH);
        assert_int_equal(to[0], 0xee);
        aead_key_fini(f->impl[i], &k);
    }
}

/* More keys than any cache behind the interface, in turn; copied, and used with another state. */
static void test_keys_never_mix(void **state)
{
    enum { KEYS = 300, TEXT = 48 };
    static struct aead_key k[KEYS];
    static uint8_t sealed[KEYS][TEXT + AEAD_TAG_LEN];
    const uint8_t nonce[AEAD_IV_LEN] = {1};
    struct fixture *f = *state;

    fill(&f->rng, f->plain, TEXT);
    for (size_t i = 0; i < f->impls_n; i++) {
        struct aead *a = f->impl[i];
        struct aead *other = aead_open_impl(i == 0 ? AEAD_OPENSSL : AEAD_IPSEC_MB);
        struct aead_key moved;
        uint8_t to[TEXT];

        assert_non_null(other);
        for (size_t j = 0; j < KEYS; j++) {
            struct secret key = {{(uint8_t)j, (uint8_t)(j >> 8)}};

            aead_key_init(a, &k[j], &key);
        }
        for (size_t round = 0; round < 3; round++) {
            for (size_t j = 0; j < KEYS; j++) {
                aead_seal(a, &k[j], nonce, (struct bytes){0}, (struct bytes){f->plain, TEXT},
                          sealed[j]);
            }
        }
        for (size_t j = 0; j < KEYS; j++) {
            struct bytes b = {sealed[j], sizeof(sealed[j])};

            moved = k[j];
            assert_int_equal(aead_open(a, &moved, nonce, (struct bytes){0}, b, to), OK);
            assert_int_equal(aead_open(other, &k[j], nonce, (struct bytes){0}, b, to), OK);
            assert_memory_equal(to, f->plain, TEXT);
            assert_int_equal(aead_open(a, &k[(j + 64) % KEYS], nonce, (struct bytes){0}, b, to),
                             ERR_AUTH);
        }
        for (size_t j = 0; j < KEYS; j++) {
            aead_key_fini(a, &k[j]);
        }
        aead_close_impl(other);
    }
}

static void seal_overlapping(struct aead *a, const struct aead_key *k, uint8_t *buffer)
{
    const uint8_t nonce[AEAD_IV_LEN] = {0};

    aead_seal(a, k, nonce, (struct bytes){0}, (struct bytes){buffer + 1, 64}, buffer);
}

static void open_overlapping(struct aead *a, const struct aead_key *k, uint8_t *buffer)
{
    const uint8_t nonce[AEAD_IV_LEN] = {0};

    (void)!aead_open(a, k, nonce, (struct bytes){0}, (struct bytes){buffer, 64}, buffer + 16);
}

static void seal_too_much(struct aead *a, const struct aead_key *k, uint8_t *buffer)
{
    const uint8_t nonce[AEAD_IV_LEN] = {0};

    aead_seal(a, k, nonce, (struct bytes){0}, (struct bytes){buffer, (size_t)MESSAGE_MAX + 1},
              buffer);
}

static void too_much_associated(struct aead *a, const struct aead_key *k, uint8_t *buffer)
{
    const uint8_t nonce[AEAD_IV_LEN] = {0};

    aead_seal(a, k, nonce, (struct bytes){buffer, 65537}, (struct bytes){buffer, 1}, buffer);
}

/* CRY-11 */
static void test_own_mistakes_stop_the_process(void **state)
{
    void (*const mistakes[])(struct aead *, const struct aead_key *, uint8_t *) = {
        seal_overlapping, open_overlapping, seal_too_much, too_much_associated};
    static const struct secret key;
    struct fixture *f = *state;

    for (size_t i = 0; i < f->impls_n * 4; i++) {
        struct aead *a = f->impl[i / 4];
        struct aead_key k;
        int status = 0;
        pid_t child;

        aead_key_init(a, &k, &key);
        child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            (void)close(STDERR_FILENO);
            (void)signal(SIGABRT, SIG_DFL);
            mistakes[i % 4](a, &k, f->plain);
            _exit(0);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
        aead_key_fini(a, &k);
    }
}

static void test_equal_in_constant_time_is_equal(void **state)
{
    uint8_t a[40], b[40];
    struct fixture *f = *state;

    fill(&f->rng, a, sizeof(a));
    memcpy(b, a, sizeof(b));
    for (size_t n = 0; n <= sizeof(a); n++) {
        assert_true(ct_equal(a, b, n));
    }
    for (size_t bit = 0; bit < sizeof(a) * 8; bit++) {
        b[bit / 8] ^= (uint8_t)(1U << bit % 8);
        for (size_t n = 0; n <= sizeof(a); n++) {
            assert_int_equal(ct_equal(a, b, n), n <= bit / 8);
        }
        b[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_best_is_there),
        cmocka_unit_test(test_known_answers),
        cmocka_unit_test(test_implementations_agree),
        cmocka_unit_test(test_every_flipped_bit_is_refused),
        cmocka_unit_test(test_too_short_to_have_a_tag),
        cmocka_unit_test(test_keys_never_mix),
        cmocka_unit_test(test_own_mistakes_stop_the_process),
        cmocka_unit_test(test_equal_in_constant_time_is_equal),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
