// SPDX-License-Identifier: Apache-2.0
#ifndef CLIENT_LINK_H
#define CLIENT_LINK_H

/*
 * The control connection with one node: dial, handshake, stay, dial again after a growing pause.
 * Non-blocking; every state has a deadline. CLI-12.
 *
 *    RESTING --wake--> CONNECTING --connected--> SHAKING --welcome--> STANDING
 *       ^                  |                        |                     |
 *       +------------------+----- failed, late -----+------- ended -------+
 */

#include "client/core.h"
#include "client/profile.h"
#include "common/prng.h"
#include "trusted/control/dialer.h"

enum link_state {
    LINK_RESTING = 0,
    LINK_CONNECTING,
    LINK_SHAKING,
    LINK_STANDING,
};

enum link_news {
    LINK_NOTHING = 0,
    LINK_UP,   /* WELCOME came: open the sessions */
    LINK_DOWN, /* it stood and ended: end the sessions */
};

/* What all links of a client share. */
struct link_env {
    int epoll; /* our events carry the place in data.u32 */
    const struct identity *identity;
    uint32_t identity_serial; /* which of those that were read */
    const struct profile *profile;
    uint8_t boot[BOOT_ID_LEN];
    struct prng prng; /* jitter of the pauses */
};

struct link {
    enum link_state state;
    uint32_t place;
    int fd;
    uint32_t generation; /* of the receive indices */
    uint32_t identity;   /* serial of that which the connection was made with */
    uint32_t failures;   /* in a row */
    uint64_t wake_at_ns; /* end of the pause, or of our patience; UINT64_MAX: never */
    struct dialer *dialer;
    bool wants_out;
    bool wants_report; /* asked for, not yet come */
    uint8_t out[4096];
    size_t out_n, out_at;
    enum err err;       /* of the last failure; OK if there was none */
    struct explain why; /* of the last failure: one line that names the node */
};

void link_init(struct link *l, uint32_t place);
void link_fini(struct link *l);

/* Does what is due. `ready`: epoll named it. */
enum link_news link_step(struct link *l, struct link_env *env, uint64_t now_ns, bool ready);
/* Says goodbye on a standing connection, which is of no use afterwards. */
void link_leave(struct link *l, const struct link_env *env, enum err err, const char *why);
/* Ends a standing connection that is of no more use, and dials again soon. */
void link_drop(struct link *l, struct link_env *env, uint64_t now_ns, enum err err,
               const char *why);

/* Asks the node for its state. CLOSED unless standing. */
RESULT link_ask_report(struct link *l, struct link_env *env, uint64_t now_ns);
/* The answer, once; NULL until then. Valid until the next call. */
const char *link_report(struct link *l, size_t *ret_n);

#endif
