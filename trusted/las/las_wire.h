// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_LAS_LAS_WIRE_H
#define TRUSTED_LAS_LAS_WIRE_H

/*
 * What a process and the LAS of its machine say to each other over a Unix socket of whole packets:
 * LAS-3. A request is answered by one reply. HELLO comes first: its answer is a challenge, which
 * only the program that was measured meanwhile can send back.
 */

#include "trusted/las/las_report.h"
#include "trusted/las/las_token.h"

enum {
    LAS_REQUEST_MAX = 1024,
    LAS_REPLY_MAX = 1024,
    LAS_TEXT_MAX = 384,
    LAS_CHALLENGE_LEN = 16,
};

enum las_request_kind {
    LAS_HELLO = 1,
    LAS_MEASURE, /* a token for who I am: the LAS looks at the executable of the peer */
    LAS_TARGET,  /* SGX: for whom must a report be made? */
    LAS_REPORT,  /* SGX: a token for this report */
};

struct las_request {
    enum las_request_kind kind;
    uint8_t challenge[LAS_CHALLENGE_LEN]; /* MEASURE */
    struct evidence_binding binding;      /* MEASURE, REPORT */
    uint8_t report[LAS_REPORT_LEN];       /* REPORT */
};

struct las_reply {
    enum err err;                         /* OK, or why not */
    char text[LAS_TEXT_MAX];              /* not OK: one line */
    uint8_t challenge[LAS_CHALLENGE_LEN]; /* HELLO */
    uint8_t target[LAS_TARGET_LEN];       /* TARGET */
    uint8_t token[LAS_TOKEN_MAX];         /* MEASURE, REPORT */
    size_t token_n;
};

/* Returns the length; `to` has LAS_REQUEST_MAX or LAS_REPLY_MAX bytes of room. */
size_t las_request_write(const struct las_request *m, struct mbytes to);
RESULT las_request_read(struct bytes b, struct las_request *ret);
size_t las_reply_write(const struct las_reply *m, enum las_request_kind of, struct mbytes to);
RESULT las_reply_read(struct bytes b, enum las_request_kind of, struct las_reply *ret);

#endif
