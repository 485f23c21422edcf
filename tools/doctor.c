// SPDX-License-Identifier: Apache-2.0
#include "tools/doctor.h"

#include "common/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const mode_names[DOCTOR_MODES_N] = {"software", "sgx", "snp", "tdx"};

struct doctor_check *doctor_add(struct doctor_sheet *to, const char *name, uint8_t needed_by)
{
    struct doctor_check *c = &to->checks[to->n];

    CHECK(to->n < DOCTOR_CHECKS_MAX);
    to->n++;
    *c = (struct doctor_check){.name = name, .needed_by = needed_by};
    return c;
}

void doctor_text(char *to, size_t max, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(to, max, format, args);
    va_end(args);
    for (char *p = to; *p != '\0'; p++) {
        if ((unsigned char)*p < ' ' || (unsigned char)*p > '~') {
            *p = '?';
        }
    }
}

void doctor_advise(struct doctor_check *c, enum doctor_state state, const char *remedy)
{
    c->state = state;
    (void)snprintf(c->remedy, sizeof(c->remedy), "%s", remedy);
}

bool doctor_is_ready(const struct doctor_sheet *s, enum doctor_mode mode)
{
    for (size_t i = 0; i < s->n; i++) {
        if (s->checks[i].state == DOCTOR_MISSING && (s->checks[i].needed_by >> mode & 1) != 0) {
            return false;
        }
    }
    return true;
}

const char *doctor_mode_name(enum doctor_mode mode)
{
    return mode_names[mode];
}

bool doctor_mode_parse(const char *name, enum doctor_mode *ret)
{
    for (int i = 0; i < DOCTOR_MODES_N; i++) {
        if (strcmp(name, mode_names[i]) == 0) {
            *ret = (enum doctor_mode)i;
            return true;
        }
    }
    return false;
}

const char *doctor_state_name(enum doctor_state state)
{
    static const char *const names[] = {"ok", "worse", "missing"};

    return names[state];
}

void doctor_examine(int root, struct doctor_sheet *ret)
{
    memset(ret, 0, sizeof(*ret));
    doctor_examine_files(root, ret);
    doctor_examine_process(ret);
}
