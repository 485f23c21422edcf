// SPDX-License-Identifier: Apache-2.0
/* avocado doctor on imitations of machines that nobody has at hand: what it calls ready, and what
 * it says is missing. */
#include "tools/doctor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct place {
    char base[64];
    int fd;
};

/* Folders on the way are made; text NULL makes a folder. */
static void put(const struct place *m, const char *path, const char *text)
{
    char part[256];
    int fd;

    for (const char *p = strchr(path, '/'); p != NULL; p = strchr(p + 1, '/')) {
        (void)snprintf(part, sizeof(part), "%.*s", (int)(p - path), path);
        (void)mkdirat(m->fd, part, 0755);
    }
    if (text == NULL) {
        assert_int_equal(mkdirat(m->fd, path, 0755), 0);
        return;
    }
    fd = openat(m->fd, path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(close(fd), 0);
}

static void put_cpu(const struct place *m, const char *flags)
{
    char text[512];

    (void)snprintf(text, sizeof(text),
                   "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu %s aes\n\n"
                   "processor\t: 1\nmodel name\t: Some CPU\nflags\t\t: fpu %s aes\n",
                   flags, flags);
    put(m, "proc/cpuinfo", text);
}

static int set_up(void **state)
{
    struct place *m = calloc(1, sizeof(*m));

    if (m == NULL) {
        return -1;
    }
    (void)snprintf(m->base, sizeof(m->base), "/tmp/avocado-doctor-XXXXXX");
    if (mkdtemp(m->base) == NULL) {
        free(m);
        return -1;
    }
    m->fd = open(m->base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    put(m, "proc/sys/kernel/osrelease", "6.8.0-test\n");
    put(m, "proc/meminfo", "MemTotal:       4000000 kB\nMemAvailable:    2097152 kB\n");
    put(m, "sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
    put(m, "sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n");
    put_cpu(m, "");
    *state = m;
    return 0;
}

static int tear_down(void **state)
{
    struct place *m = *state;
    char command[128];
    int code;

    (void)close(m->fd);
    (void)snprintf(command, sizeof(command), "rm -rf %s", m->base);
    code = system(command); /* NOLINT(cert-env33-c): a name of our own */
    free(m);
    return code;
}

static struct doctor_sheet look(const struct place *m)
{
    struct doctor_sheet s = {0};

    doctor_examine_files(m->fd, &s);
    return s;
}

static const struct doctor_check *row(const struct doctor_sheet *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++) {
        if (strcmp(s->checks[i].name, name) == 0) {
            return &s->checks[i];
        }
    }
    return NULL;
}

/* What the row advises; "" when there is no such row. */
static const char *remedy_of(const struct doctor_sheet *s, const char *name)
{
    const struct doctor_check *c = row(s, name);

    return c == NULL ? "" : c->remedy;
}

static enum doctor_state state_of(const struct doctor_sheet *s, const char *name)
{
    const struct doctor_check *c = row(s, name);

    if (c == NULL) {
        fail_msg("no row %s", name);
        return DOCTOR_MISSING;
    }
    assert_true(c->found[0] != '\0');
    assert_true((c->state == DOCTOR_FINE) == (c->remedy[0] == '\0'));
    return c->state;
}

static void assert_modes(const struct doctor_sheet *s, const char *ready)
{
    for (int i = 0; i < DOCTOR_MODES_N; i++) {
        const char *name = doctor_mode_name((enum doctor_mode)i);

        if (doctor_is_ready(s, (enum doctor_mode)i) != (strstr(ready, name) != NULL)) {
            fail_msg("%s is %sready", name, strstr(ready, name) != NULL ? "not " : "");
        }
    }
}

static void test_plain_machine(void **state)
{
    struct doctor_sheet s = look(*state);

    assert_string_equal(s.kernel, "Linux 6.8.0-test");
    assert_string_equal(s.cpu, "Some CPU");
    assert_int_equal(s.processors, 2);
    assert_false(s.is_virtual);
    assert_modes(&s, "software");
    assert_int_equal(state_of(&s, "sgx-cpu"), DOCTOR_MISSING);
    assert_int_equal(state_of(&s, "configfs-tsm"), DOCTOR_MISSING);
    assert_int_equal(state_of(&s, "memory"), DOCTOR_FINE);
    assert_int_equal(state_of(&s, "clock"), DOCTOR_FINE);
    assert_int_equal(state_of(&s, "huge-pages"), DOCTOR_FINE);
}

static void test_guest(const struct place *m, const char *provider, const char *ready)
{
    struct doctor_sheet s;

    put_cpu(m, "hypervisor");
    put(m, "sys/kernel/config/tsm/report/avocado-doctor/provider", provider);
    s = look(m);
    assert_true(s.is_virtual);
    assert_modes(&s, ready);
    assert_int_equal(state_of(&s, "configfs-tsm"), DOCTOR_FINE);
}

static void test_snp_guest(void **state)
{
    test_guest(*state, "sev_guest\n", "software snp");
}

static void test_tdx_guest(void **state)
{
    test_guest(*state, "tdx_guest\n", "software tdx");
}

/* The text comes from whoever runs the machine. */
static void test_odd_provider(void **state)
{
    struct doctor_sheet s;

    test_guest(*state, "\033[2Jsev_guest and a lot more than anybody expects here\n", "software");
    put(*state, "proc/sys/kernel/osrelease", "6\033[31m.8\n");
    s = look(*state);
    assert_string_equal(s.kernel, "Linux 6?[31m.8");
}

/* Who may not make entries sees the device, and is told how to get an entry. */
static void test_guest_without_right(void **state)
{
    const struct place *m = *state;
    struct doctor_sheet s;

    put(m, "sys/kernel/config/tsm/report", NULL);
    put(m, "dev/tdx_guest", "");
    s = look(m);
    assert_modes(&s, "software tdx");
    assert_int_equal(state_of(&s, "tdx-guest"), DOCTOR_FINE);
    assert_int_equal(state_of(&s, "snp-guest"), DOCTOR_MISSING);
}

static void test_hosts(void **state)
{
    const struct place *m = *state;
    struct doctor_sheet s;

    put_cpu(m, "sev sev_es sev_snp");
    s = look(m);
    assert_modes(&s, "software");
    assert_non_null(strstr(remedy_of(&s, "snp-guest"), "guest of this host"));
    assert_null(strstr(remedy_of(&s, "tdx-guest"), "guest of this host"));
    put_cpu(m, "hypervisor sev_snp"); /* a guest that is shown its host's flags */
    s = look(m);
    assert_null(strstr(remedy_of(&s, "snp-guest"), "guest of this host"));
}

static void test_sgx(void **state)
{
    const struct place *m = *state;
    struct doctor_sheet s;

    put_cpu(m, "sgx sgx_lc");
    put(m, "dev/sgx_enclave", "");
    put(m, "dev/sgx_provision", "");
    put(m, "sys/devices/system/node/node0/x86/sgx_total_bytes", "67108864\n");
    s = look(m);
    assert_modes(&s, "software");
    assert_int_equal(state_of(&s, "sgx-quotes"), DOCTOR_MISSING);
    assert_int_equal(state_of(&s, "sgx-memory"), DOCTOR_WORSE);
    put(m, "var/run/aesmd/aesm.socket", "");
    put(m, "sys/devices/system/node/node1/x86/sgx_total_bytes", "1073741824\n");
    s = look(m);
    assert_modes(&s, "software sgx");
    assert_int_equal(state_of(&s, "sgx-memory"), DOCTOR_FINE);
    put_cpu(m, "sgx_lc"); /* another word is another flag */
    s = look(m);
    assert_modes(&s, "software");
}

static void test_in_gramine(void **state)
{
    const struct place *m = *state;
    struct doctor_sheet s;

    put(m, "dev/attestation/user_report_data", "");
    put(m, "dev/attestation/attestation_type", "none\n");
    s = look(m);
    assert_modes(&s, "software");
    put(m, "dev/attestation/attestation_type", "dcap\n");
    s = look(m);
    assert_modes(&s, "software sgx");
    assert_null(row(&s, "sgx-device"));
}

static void test_worse(void **state)
{
    const struct place *m = *state;
    struct doctor_sheet s;

    put(m, "proc/meminfo", "MemAvailable:      20971 kB\n");
    put(m, "sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n");
    put(m, "sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n");
    s = look(m);
    assert_int_equal(state_of(&s, "memory"), DOCTOR_WORSE);
    assert_int_equal(state_of(&s, "clock"), DOCTOR_WORSE);
    assert_int_equal(state_of(&s, "huge-pages"), DOCTOR_WORSE);
    assert_modes(&s, "software");
}

static void test_dpdk(void **state)
{
    const struct place *m = *state;
    struct doctor_sheet s = look(m);

    assert_int_equal(state_of(&s, "dpdk-memory"), DOCTOR_WORSE);
    assert_int_equal(state_of(&s, "vfio"), DOCTOR_WORSE);
    assert_non_null(strstr(remedy_of(&s, "vfio"), "modprobe"));
    put(m, "proc/meminfo",
        "MemAvailable:    2097152 kB\nHugePages_Total:     512\nHugePages_Free:       12\n"
        "Hugepagesize:       2048 kB\n");
    put(m, "dev/vfio/vfio", "");
    s = look(m);
    assert_int_equal(state_of(&s, "dpdk-memory"), DOCTOR_FINE);
    assert_string_equal(row(&s, "dpdk-memory")->found, "12 of 512 huge pages of 2048 KiB free");
    assert_non_null(strstr(remedy_of(&s, "vfio"), "iommu=on"));
    put(m, "sys/kernel/iommu_groups/0/type", "DMA\n");
    put(m, "sys/kernel/iommu_groups/1/type", "DMA\n");
    s = look(m);
    assert_int_equal(state_of(&s, "vfio"), DOCTOR_FINE);
    assert_modes(&s, "software");
}

/* This very machine: only that every row says something, and that software mode works. */
static void test_this_process(void **state)
{
    struct doctor_sheet s = {0};

    (void)state;
    doctor_examine_process(&s);
    assert_true(s.n >= 5);
    for (size_t i = 0; i < s.n; i++) {
        (void)state_of(&s, s.checks[i].name);
    }
    assert_true(doctor_is_ready(&s, DOCTOR_SOFTWARE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_plain_machine, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_snp_guest, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_tdx_guest, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_odd_provider, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_guest_without_right, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_hosts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_sgx, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_in_gramine, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_worse, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_dpdk, set_up, tear_down),
        cmocka_unit_test(test_this_process),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
