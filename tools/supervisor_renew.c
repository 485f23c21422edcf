// SPDX-License-Identifier: Apache-2.0
#include "tools/supervisor.h"

#include "daemons/log.h"

#include <inttypes.h>
#include <signal.h>
#include <sys/pidfd.h>

/*
 * A replica whose host destroyed a page of its index is no vote for the keys of that page, and
 * nothing can be put back there under its identity (docs/adr/0011-sealed-paging.md). It is ended
 * and comes back the way that every member does which lost its memory: as a new one that copies.
 *
 * A host that destroys pages again and again could keep the cluster copying, so the time between
 * two renewals doubles, whichever members they concern.
 */

enum {
    ASK_MS = 1000,   /* between two questions to the CAS */
    FRESH_MS = 3000, /* an older report says nothing about now */
    END_MS = 5000,   /* then by force */
    PAUSE_MS = 10000,
    PAUSE_DOUBLINGS = 9, /* up to an hour and a half */
    QUIET_TIMES = 2,     /* so many pauses without another one, and it begins small again */
};

static bool is_heard(const struct supervisor *s, const struct supervised *m)
{
    return m->process.state == NODE_ALIVE && m->renewed_at_ms == 0 && m->report.is_up &&
           m->report.incarnation == m->incarnation && s->now_ms - m->heard_at_ms < FRESH_MS;
}

/* Incarnations of the members that answer and hold everything they acknowledged. */
static json_t *sound_members(const struct supervisor *s)
{
    json_t *sound = json_array();

    for (uint32_t i = 0; i < s->n; i++) {
        const struct supervised *m = &s->members[i];

        if (is_heard(s, m) && m->report.keys_lost == 0) {
            (void)json_array_append_new(sound, json_integer(m->incarnation));
        }
    }
    return sound;
}

/* The CAS decides. */
static enum err may_spare(struct supervisor *s, const struct supervised *m)
{
    struct explain why = {{0}};

    s->spare_at_ms = s->now_ms + ASK_MS;
    return supervisor_cas_order(s,
                                json_pack("{s:s,s:I,s:o}", "do", "spare", "incarnation",
                                          (json_int_t)m->incarnation, "sound", sound_members(s)),
                                NULL, &why);
}

static uint64_t pause_ms(uint32_t renewals)
{
    return (uint64_t)PAUSE_MS << (renewals < PAUSE_DOUBLINGS ? renewals : PAUSE_DOUBLINGS);
}

static void renew(struct supervisor *s, struct supervised *m)
{
    uint64_t pause;

    if (s->now_ms > s->renew_after_ms + QUIET_TIMES * pause_ms(s->renewals)) {
        s->renewals = 0;
    }
    pause = pause_ms(s->renewals);
    s->renewals++;
    s->renew_after_ms = s->now_ms + pause;
    m->renewed_at_ms = s->now_ms;
    node_log("warning",
             "integrity: node %u (incarnation %u) lost %" PRIu64
             " keys to its host: it is ended and comes back as a new member that copies from the "
             "others; look at its machine. The next one not within %" PRIu64 " s",
             m->node, m->incarnation, m->report.keys_lost, pause / 1000);
    (void)pidfd_send_signal(m->process.pidfd, SIGTERM, NULL, 0);
}

static void refuse(struct supervised *m)
{
    if (!m->refused) {
        m->refused = true;
        node_log("error",
                 "integrity: node %u (incarnation %u) lost %" PRIu64
                 " keys to its host and is not made anew: too few other voters answer and hold "
                 "everything. It serves what it has; the others serve its lost keys",
                 m->node, m->incarnation, m->report.keys_lost);
    }
}

void supervisor_renew(struct supervisor *s)
{
    for (uint32_t i = 0; i < s->n; i++) {
        struct supervised *m = &s->members[i];
        enum err err;

        if (m->renewed_at_ms != 0 && m->process.state == NODE_ALIVE &&
            s->now_ms - m->renewed_at_ms >= END_MS) {
            (void)pidfd_send_signal(m->process.pidfd, SIGKILL, NULL, 0);
        }
        if (!s->restarts || supervisor_place(s, m) < 0 || !is_heard(s, m) ||
            m->report.keys_lost == 0) {
            continue;
        }
        if (!supervisor_cas_is_quiet(s) || s->now_ms < s->renew_after_ms ||
            s->now_ms < s->spare_at_ms) {
            continue; /* later */
        }
        err = may_spare(s, m);
        if (err == OK) {
            renew(s, m);
            return;
        }
        if (err == ERR_POLICY) {
            refuse(m);
        }
    }
}
