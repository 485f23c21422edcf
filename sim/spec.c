// SPDX-License-Identifier: Apache-2.0
#include "sim/spec.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *level_name(enum level level)
{
    return level == LEVEL_PROTOCOL ? "protocol" : "replica";
}

const char *verdict_name(enum verdict verdict)
{
    static const char *const names[] = {"held", "WRONG", "NOT LIVE", "CHECK", "NONDETERMINISTIC"};

    return names[verdict];
}

__attribute__((format(printf, 2, 3))) static void append(char *to, const char *format, ...)
{
    size_t n = strlen(to);
    va_list args;

    va_start(args, format);
    (void)vsnprintf(to + n, SPEC_COMMAND_MAX - n, format, args);
    va_end(args);
}

void spec_command(const struct run_spec *spec, const struct plant *plant,
                  char ret[SPEC_COMMAND_MAX])
{
    const char *before = " --without ";

    ret[0] = 0;
    append(ret, "avocado-sim --seed %" PRIu64 " --ops %u --level %s", spec->seed, spec->ops_n,
           level_name(spec->level));
    if (spec->clients_max != 0) {
        append(ret, " --clients %u", spec->clients_max);
    }
    if (spec->keys_max != 0) {
        append(ret, " --keys %u", spec->keys_max);
    }
    if (spec->groups != 0) {
        append(ret, " --groups %u", spec->groups);
    }
    append(ret, "%s", spec->collects ? " --collect" : "");
    for (size_t i = 0; i < traits_n; i++) {
        if ((spec->without >> i & 1) != 0) {
            append(ret, "%s%s", before, traits[i].name);
            before = ",";
        }
    }
    if (plant != NULL) {
        append(ret, " --plant %s", plant->name);
    }
    append(ret, " -v");
}

static size_t find_trait(const char *name, size_t n)
{
    size_t i = 0;

    while (i < traits_n && (strlen(traits[i].name) != n || memcmp(traits[i].name, name, n) != 0)) {
        i++;
    }
    return i;
}

bool spec_without(const char *names, uint64_t *ret_bits, char ret_bad[32])
{
    while (*names != 0) {
        size_t n = strcspn(names, ",");
        size_t trait = find_trait(names, n);

        if (trait == traits_n) {
            (void)snprintf(ret_bad, 32, "%.*s", n < 31 ? (int)n : 31, names);
            return false;
        }
        *ret_bits |= UINT64_C(1) << trait;
        names += n + (names[n] == ',');
    }
    return true;
}
