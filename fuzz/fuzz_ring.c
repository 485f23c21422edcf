// SPDX-License-Identifier: Apache-2.0
/* The trusted ends of two rings, over memory that says something else each time it is read: every
 * word that boundary/ring.c loads is drawn from the input, often near what would be right. */
#include "boundary/ring.h"

#include "common/check.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
uint64_t fuzz_load(const uint64_t *p);

enum { FUZZ_SIZE = 8192 };

static const uint8_t *input, *input_end;
static struct ring in, out;

static uint8_t draw(void)
{
    return input < input_end ? *input++ : 0;
}

static uint64_t draw_u64(void)
{
    uint64_t v = 0;

    for (int i = 0; i < 8; i++) {
        v = v << 8 | draw();
    }
    return v;
}

uint64_t fuzz_load(const uint64_t *p)
{
    switch (draw() % 6) {
    case 0:
        return *p;
    case 1: /* a position a few lines on */
        return in.own + (uint64_t)draw() * RING_LINE;
    case 2:
        return out.own - (uint64_t)draw() * RING_LINE;
    case 3: /* a record of some length */
        return ((uint64_t)draw() * 8 + draw()) | (uint64_t)RING_PACKET << 32;
    case 4:
        return RING_SKIP;
    default:
        return draw_u64();
    }
}

static void consume(void)
{
    static uint8_t copy[FUZZ_SIZE];
    struct ring_record r;
    uint32_t off;

    for (int i = 0; i < 64 && ring_next(&in, &r, &off); i++) {
        CHECK(r.len <= in.payload_max);
        CHECK(off <= in.size && r.len <= in.size - off && off % RING_LINE == 0);
        memcpy(copy, in.data + off, r.len);
    }
    CHECK(in.own % RING_LINE == 0);
}

static void produce(void)
{
    struct ring_record r = {.kind = RING_PACKET,
                            .len = ((uint32_t)draw() << 8 | draw()) % (out.payload_max + 1)};
    uint8_t *to = ring_reserve(&out, r.len);

    if (to != NULL) {
        memset(to, 1, r.len); /* the sanitizer sees a byte too far */
        ring_add(&out, &r);
    }
    CHECK(out.own - out.other <= out.size);
}

/* Small, so that it is full and wraps early; on the heap, so that a byte too far is seen. */
static struct ring make(uint64_t at)
{
    struct ring r = {.shared = aligned_alloc(RING_LINE, sizeof(*r.shared)),
                     .data = calloc(1, FUZZ_SIZE),
                     .size = FUZZ_SIZE,
                     .payload_max = 1500,
                     .own = at,
                     .other = at,
                     .seen = at};

    CHECK(r.shared != NULL && r.data != NULL);
    memset(r.shared, 0, sizeof(*r.shared));
    return r;
}

static void unmake(struct ring *r)
{
    free(r->shared);
    free(r->data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input = data;
    input_end = data + size;
    in = make((uint64_t)draw() * RING_LINE);
    out = make((uint64_t)draw() * RING_LINE);
    while (input < input_end) {
        switch (draw() % 5) {
        case 0:
            consume();
            break;
        case 1:
            produce();
            break;
        case 2:
            ring_release(&in);
            ring_publish(&out);
            break;
        case 3:
            (void)ring_doze(&in);
            break;
        default:
            (void)ring_must_wake(&out);
            break;
        }
    }
    unmake(&in);
    unmake(&out);
    return 0;
}
