// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_CONTROL_FRAMES_H
#define TRUSTED_CONTROL_FRAMES_H

/* Messages of hello_wire.h over one TLS connection: cut out of the byte stream and put into it. */

#include "trusted/control/tls.h"
#include "trusted/wire/hello_wire.h"

/* All zero at first. */
struct frames {
    uint8_t *p; /* heap: length field and message */
    size_t len, cap;
    bool is_taken; /* the message in `p` was handed out: the next call starts a new one */
};

void frames_fini(struct frames *f);
/* The next whole message that has come, if any. `max` bounds its bytes after the length field;
 * MALFORMED beyond that, or as control_message_decode. Texts borrow from f until the next call. */
RESULT frames_take(struct frames *f, struct tls *from, size_t max, struct control_message *ret,
                   bool *ret_have);
/* CLOSED as tls_write; TOO_BIG as control_message_encode. */
RESULT frames_send(struct tls *to, const struct control_message *m);

#endif
