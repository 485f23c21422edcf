// SPDX-License-Identifier: Apache-2.0
#ifndef TOOLS_DOCTOR_H
#define TOOLS_DOCTOR_H

/*
 * What this machine offers Avocado: TEEs and the way to their evidence, memory that nobody can
 * read, fast cryptography, packets in trains. Every finding says what is there and, where something
 * is missing, what to do about it. docs/man/avocado-doctor.1
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum doctor_mode { DOCTOR_SOFTWARE, DOCTOR_SGX, DOCTOR_SNP, DOCTOR_TDX, DOCTOR_MODES_N };

enum doctor_state {
    DOCTOR_FINE,
    DOCTOR_WORSE,   /* it works without, but slower or with less protection */
    DOCTOR_MISSING, /* the modes that need it do not work */
};

struct doctor_check {
    const char *name;
    uint8_t needed_by; /* 1 << enum doctor_mode; 0: wanted by all, needed by none */
    enum doctor_state state;
    char found[128];
    char remedy[256]; /* empty when FINE */
};

enum { DOCTOR_CHECKS_MAX = 24 };

struct doctor_sheet {
    char kernel[64], cpu[96];
    bool is_virtual; /* a hypervisor is below us */
    unsigned processors;
    struct doctor_check checks[DOCTOR_CHECKS_MAX];
    size_t n;
};

/* Everything. `root` is an open folder below which sys/, proc/ and dev/ lie: "/", or an imitation.
 * An entry of configfs-tsm is made and removed again, where we may. */
void doctor_examine(int root, struct doctor_sheet *ret);

/* The two halves: what files say, and what only trying tells. They append to `to`. */
void doctor_examine_files(int root, struct doctor_sheet *to);
void doctor_examine_process(struct doctor_sheet *to);
/* Of these, what DPDK needs. */
void doctor_examine_nics(int root, struct doctor_sheet *to);
void doctor_examine_module(struct doctor_sheet *to);

/* A new row, FINE until somebody says otherwise. */
struct doctor_check *doctor_add(struct doctor_sheet *to, const char *name, uint8_t needed_by);
/* As snprintf; what a terminal could take for something else becomes '?', for names and versions
 * come from files of whoever runs the machine. */
__attribute__((format(printf, 3, 4))) void doctor_text(char *to, size_t max, const char *format,
                                                       ...);
/* What is there is in c->found already; this says what to do about it. */
void doctor_advise(struct doctor_check *c, enum doctor_state state, const char *remedy);

/* Nothing that the mode needs is missing. */
bool doctor_is_ready(const struct doctor_sheet *s, enum doctor_mode mode);
const char *doctor_mode_name(enum doctor_mode mode);
bool doctor_mode_parse(const char *name, enum doctor_mode *ret);
const char *doctor_state_name(enum doctor_state state); /* "ok", "worse", "missing" */

#endif
