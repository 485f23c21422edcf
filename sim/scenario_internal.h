// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_SCENARIO_INTERNAL_H
#define SIM_SCENARIO_INTERNAL_H

#include "sim/replicas.h"
#include "sim/scenario.h"

enum {
    STORY_WORDS_MAX = 24,
    STORY_OPS_MAX = 200,
    STORY_NAME_MAX = 16,
    STORY_VALUE_MAX = 1024,
    STORY_FIRST_OP = 1 << 24, /* numbers of operations from here on are the story's */
};

/* An operation of the story, which is not in the history. */
struct story_op {
    char name[STORY_NAME_MAX]; /* of one that was only started; "": the step waits for it */
    bool is_scan, ended;
    enum err status;
    char text[STORY_VALUE_MAX]; /* the answer; of a scan: KEY=VALUE, with blanks between */
};

struct story {
    struct run *r;
    uint32_t line;
    bool is_expected, failed, is_usage;
    char why[SCENARIO_WHY_MAX - 100];
    uint32_t words_n;
    char *words[STORY_WORDS_MAX];
    uint32_t via; /* host + 1; 0: any */
    uint64_t within_ns;
    uint32_t ops_n;
    struct story_op ops[STORY_OPS_MAX];
};

/* The step went wrong; the first reason stays. */
void story_fail(struct story *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The line is none. */
void story_usage(struct story *s, const char *what);
/* Word i as a number; of a node: as its host. 0 and a usage error, if it is none. */
uint64_t story_number(struct story *s, uint32_t i);
uint8_t story_host(struct story *s, uint32_t i);

/* Lets things happen until `is_so`, or for so long: false. */
bool story_until(struct story *s, bool (*is_so)(struct story *s, uint64_t arg), uint64_t arg,
                 uint64_t most_ns);

/* scenario_ops.c: operations. False: the line begins with no operation. */
bool story_operate(struct story *s);
void story_answer(struct run *r, size_t op, enum err status, struct bytes value);

/* scenario_steps.c: everything else. False: no such step. */
bool story_step(struct story *s);
void story_steps_help(FILE *to);

#endif
