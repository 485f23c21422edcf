// SPDX-License-Identifier: Apache-2.0
/* Enclave memory of an ordinary process: hidden where the kernel can, wiped before it goes back,
 * and OpenSSL's heap within it. ISOLATION-1 to ISOLATION-4. */
#include "trusted/port/port.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

enum { BYTES = 1 << 20, AWAY = 3 * 4096 + 17 };

static const char secret[] = "the secret that must not be found";

/* What was left in memory when it was unmapped. */
static size_t left_over, unmapped;

/* NOLINTBEGIN(bugprone-reserved-identifier): the names that the linker gives */
int __real_munmap(void *p, size_t n);
int __wrap_munmap(void *p, size_t n);
/* NOLINTEND(bugprone-reserved-identifier) */

int __wrap_munmap(void *p, size_t n)
{
    unmapped++;
    left_over += memmem(p, n, secret, sizeof(secret)) != NULL;
    return __real_munmap(p, n);
}

/* How another process sees it, as far as the kernel decides by the page: through /proc. */
static bool readable_through_proc(const void *p)
{
    char got[sizeof(secret)];
    int fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    ssize_t n;

    assert_true(fd >= 0);
    n = pread(fd, got, sizeof(got), (off_t)(uintptr_t)p);
    (void)close(fd);
    return n == (ssize_t)sizeof(got) && memcmp(got, p, sizeof(got)) == 0;
}

static bool is_secret(void)
{
    return strcmp(port_memory_name(), "secret") == 0;
}

static void memory_is_zero_and_hidden(void **state)
{
    uint8_t *p = port_memory_map(BYTES);

    (void)state;
    assert_non_null(p);
    for (size_t i = 0; i < BYTES; i++) {
        assert_int_equal(p[i], 0);
    }
    memcpy(p + AWAY, secret, sizeof(secret));
    if (is_secret()) {
        assert_false(readable_through_proc(p + AWAY));
        assert_null(port_memory_why());
    } else {
        print_message("no memfd_secret here: %s\n", port_memory_why());
    }
    assert_true(readable_through_proc(secret)); /* the look itself works */
    port_memory_unmap(p, BYTES);
}

static void memory_is_wiped_before_it_is_given_back(void **state)
{
    uint8_t *p = port_memory_map(BYTES);
    size_t before = unmapped;

    (void)state;
    assert_non_null(p);
    memcpy(p + AWAY, secret, sizeof(secret));
    memcpy(p + BYTES - sizeof(secret), secret, sizeof(secret));
    left_over = 0;
    port_memory_unmap(p, BYTES);
    assert_int_equal(unmapped, before + 1);
    assert_int_equal(left_over, 0);

    p = port_stack_map(BYTES);
    assert_non_null(p);
    memcpy(p + AWAY, secret, sizeof(secret));
    assert_int_equal(mprotect(p - 4096, 4096, PROT_READ), 0); /* it is there; the look wants it */
    port_stack_unmap(p, BYTES);
    assert_int_equal(unmapped, before + 2);
    assert_int_equal(left_over, 0);
}

static void openssl_keeps_its_heap_inside(void **state)
{
    uint8_t *p = OPENSSL_malloc(100), *q;
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");

    (void)state;
    assert_non_null(key);
    assert_non_null(p);
    memcpy(p, secret, sizeof(secret));
    assert_int_equal(readable_through_proc(p), !is_secret());
    assert_int_equal(readable_through_proc(key), !is_secret());
    q = OPENSSL_realloc(p, 100000);
    assert_non_null(q);
    assert_string_equal((char *)q, secret);
    q = OPENSSL_realloc(q, sizeof(secret));
    assert_string_equal((char *)q, secret);
    OPENSSL_free(q);
    OPENSSL_free(NULL);
    assert_null(OPENSSL_malloc(0));
    EVP_PKEY_free(key);
}

static void what_does_not_fit_is_counted(void **state)
{
    void *p[4];

    (void)state;
    assert_int_equal(port_memory_spilled(), 0);
    for (size_t i = 0; i < 4; i++) {
        p[i] = OPENSSL_malloc(20 << 20);
        assert_non_null(p[i]);
    }
    assert_true(port_memory_spilled() >= 20U << 20);
    for (size_t i = 0; i < 4; i++) {
        OPENSSL_free(p[i]);
    }
    assert_int_equal(port_memory_spilled(), 0);
}

static void hardened_processes_leave_no_core(void **state)
{
    struct rlimit limit = {1, 1};

    (void)state;
    port_harden();
    assert_int_equal(getrlimit(RLIMIT_CORE, &limit), 0);
    assert_int_equal(limit.rlim_max, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_zero_and_hidden),
        cmocka_unit_test(memory_is_wiped_before_it_is_given_back),
        cmocka_unit_test(openssl_keeps_its_heap_inside),
        cmocka_unit_test(what_does_not_fit_is_counted),
        cmocka_unit_test(
            hardened_processes_leave_no_core), /* last: /proc/self/mem is root's then */
    };

    if (!port_memory_choose(PORT_MEMORY_AUTO)) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
