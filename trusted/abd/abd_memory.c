// SPDX-License-Identifier: Apache-2.0
#include "trusted/abd/abd_rmw.h"

/* What became of read-modify-writes: the last one of each place in work of each owner (RMW-13). */

/* Of one place in work of one owner. */
struct memory {
    uint64_t number; /* 0: none */
    struct tag base;
    uint32_t writer;
    bool helped, committed;
};

enum { CHUNK = 64, CHUNKS_N = OPS_MAX / CHUNK };

struct abd_memory {
    struct memory *chunks[NODES_MAX][CHUNKS_N]; /* as places come into use */
};

RESULT abd_memory_init(struct abd *a)
{
    if (a->memory == NULL) {
        a->memory = heap_zalloc(a->heap, sizeof(*a->memory));
    }
    return a->memory == NULL ? ERR_ENCLAVE_MEMORY : OK;
}

void abd_memory_fini(struct abd *a)
{
    for (size_t i = 0; a->memory != NULL && i < (size_t)NODES_MAX * CHUNKS_N; i++) {
        heap_free(a->heap, a->memory->chunks[i / CHUNKS_N][i % CHUNKS_N],
                  CHUNK * sizeof(struct memory));
    }
    if (a->memory != NULL) {
        heap_free(a->heap, a->memory, sizeof(*a->memory));
    }
}

void abd_memory_clear(struct abd *a)
{
    for (size_t i = 0; a->memory != NULL && i < (size_t)NODES_MAX * CHUNKS_N; i++) {
        struct memory *chunk = a->memory->chunks[i / CHUNKS_N][i % CHUNKS_N];

        if (chunk != NULL) {
            memset(chunk, 0, CHUNK * sizeof(*chunk));
        }
    }
}

bool abd_is_rmw_id(const struct abd *a, struct rmw_id op)
{
    return (op.owner < a->config.members_n || op.owner == RMW_ORPHAN) && op.writer != 0 &&
           op.number != 0;
}

/* NULL: nothing was ever remembered for this place. */
static struct memory *memory_at(const struct abd *a, struct rmw_id op)
{
    uint32_t place = abd_cookie_op(op.number);
    struct memory *chunk = a->memory->chunks[op.owner][place / CHUNK];

    return chunk == NULL ? NULL : &chunk[place % CHUNK];
}

RESULT abd_memory_need(struct abd *a, struct rmw_id op)
{
    struct memory **chunk;

    if (op.owner == RMW_ORPHAN) {
        return OK; /* nobody will ask */
    }
    chunk = &a->memory->chunks[op.owner][abd_cookie_op(op.number) / CHUNK];
    if (*chunk == NULL) {
        *chunk = heap_zalloc(a->heap, CHUNK * sizeof(struct memory));
    }
    return *chunk == NULL ? ERR_ENCLAVE_MEMORY : OK;
}

/* The older operation of a place is over: its owner took the place for another. Of one operation,
 * only the highest base counts, for the others are dead (RMW-12). Needs memory_need. */
void abd_remember(const struct abd *a, struct rmw_id op, struct tag base, bool helped,
                  bool committed)
{
    struct memory *m = op.owner == RMW_ORPHAN ? NULL : memory_at(a, op);

    if (m == NULL) {
        return;
    }
    if (m->writer > op.writer || (m->writer == op.writer && m->number > op.number)) {
        return;
    }
    if (m->writer != op.writer || m->number != op.number) {
        *m = (struct memory){.number = op.number, .writer = op.writer, .base = base};
    } else if (tag_compare(base, m->base) < 0) {
        return;
    } else if (tag_compare(base, m->base) > 0) {
        m->base = base;
        m->helped = false;
    }
    m->helped = m->helped || helped;
    m->committed = m->committed || committed;
}

void abd_recall(const struct abd *a, struct rmw_id op, struct tag base, struct peer_answer *ret)
{
    const struct memory *m = op.owner == RMW_ORPHAN ? NULL : memory_at(a, op);

    if (m != NULL && m->number == op.number && m->writer == op.writer) {
        ret->helped = m->helped && tag_compare(m->base, base) == 0;
        ret->committed = m->committed;
    }
}
