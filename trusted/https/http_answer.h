// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_HTTPS_HTTP_ANSWER_H
#define TRUSTED_HTTPS_HTTP_ANSWER_H

/*
 * One HTTP/1.x answer, as bytes that came until the other end closed. Pure, and stricter than
 * RFC 9112 asks of a client: what could be read in two ways is refused. No line may be folded, no
 * field may stand apart from its colon, the length is said exactly once and in digits, and there is
 * no transfer coding. CAS-1
 */

#include "common/bytes.h"
#include "common/result.h"

enum {
    HTTP_HEAD_MAX = 8 << 10, /* bytes of status line and fields, with the empty line */
    HTTP_BODY_MAX = 4 << 20,
};

struct http_answer {
    unsigned status; /* 200 to 599 */
    struct bytes body;
};

/* MALFORMED: not such an answer. TOO_BIG: a body of more than HTTP_BODY_MAX. CLOSED: its beginning,
 * cut off. The body is borrowed from `from`; *ret is written on OK alone. */
RESULT http_answer_parse(struct bytes from, struct http_answer *ret);

#endif
