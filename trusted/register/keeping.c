// SPDX-License-Identifier: Apache-2.0
#include "trusted/register/keeping.h"

static const struct keeping_process *find(const struct keeping_process *p, uint32_t n,
                                          uint32_t incarnation)
{
    for (uint32_t i = 0; i < n; i++) {
        if (p[i].incarnation == incarnation) {
            return &p[i];
        }
    }
    return NULL;
}

/* Another member of the node may still be on its way out and keep its ports. */
static bool node_is_taken(const struct keeping_process *p, uint32_t n, uint32_t node)
{
    for (uint32_t i = 0; i < n; i++) {
        if (p[i].node == node && p[i].runs) {
            return true;
        }
    }
    return false;
}

void keeping_adopt(struct config_register *r, const struct keeping_process *p, uint32_t n)
{
    const struct cluster latest = *register_latest(r); /* a loss may make it the current one */

    for (uint32_t i = 0; i < latest.members_n; i++) {
        const struct keeping_process *process = find(p, n, latest.members[i].incarnation);

        if (process == NULL || !process->runs) {
            register_on_lost(r, latest.members[i].incarnation);
        }
    }
}

void keeping_hear(struct config_register *r, const struct keeping_report *m)
{
    register_on_installed(r, m->incarnation, m->installed);
    if (m->copied != 0 && m->installed == m->epoch) {
        register_on_copied(r, m->incarnation, m->epoch, m->copied);
    }
}

bool keeping_waits_for_a_person(const struct config_register *r, bool restarts)
{
    return !restarts && (r->lost | r->lost_next) != 0;
}

bool keeping_advance(struct config_register *r, bool restarts)
{
    return !keeping_waits_for_a_person(r, restarts) && register_advance(r);
}

const struct cluster_member *keeping_to_start(const struct cluster *latest,
                                              const struct keeping_process *p, uint32_t n)
{
    for (uint32_t i = 0; i < latest->members_n; i++) {
        const struct cluster_member *m = &latest->members[i];

        if (find(p, n, m->incarnation) == NULL && !node_is_taken(p, n, m->node)) {
            return m;
        }
    }
    return NULL;
}

int keeping_place(const struct cluster *latest, uint32_t incarnation)
{
    for (uint32_t i = 0; i < latest->members_n; i++) {
        if (latest->members[i].incarnation == incarnation) {
            return (int)i;
        }
    }
    return -1;
}
