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

/* The members that answer and hold everything they acknowledged. */
static uint8_t sound_members(const struct supervisor *s)
{
    uint8_t sound = 0;

    for (uint32_t i = 0; i < s->n; i++) {
        const struct supervised *m = &s->members[i];
        int place = supervisor_place(s, m);

        if (place >= 0 && is_heard(s, m) && m->report.keys_lost == 0) {
            sound |= (uint8_t)(1U << place);
        }
    }
    return sound;
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
    const struct config_register *r = &s->keeper.reg;
    uint8_t sound = sound_members(s);

    for (uint32_t i = 0; i < s->n; i++) {
        struct supervised *m = &s->members[i];
        int place = supervisor_place(s, m);

        if (m->renewed_at_ms != 0 && m->process.state == NODE_ALIVE &&
            s->now_ms - m->renewed_at_ms >= END_MS) {
            (void)pidfd_send_signal(m->process.pidfd, SIGKILL, NULL, 0);
        }
        if (!s->restarts || place < 0 || !is_heard(s, m) || m->report.keys_lost == 0) {
            continue;
        }
        if (register_health(r) != REGISTER_HEALTH_WHOLE || s->now_ms < s->renew_after_ms) {
            continue; /* later */
        }
        if (register_can_spare(r, (uint32_t)place, sound)) {
            renew(s, m);
            return;
        }
        refuse(m);
    }
}
