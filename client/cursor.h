// SPDX-License-Identifier: Apache-2.0
#ifndef CLIENT_CURSOR_H
#define CLIENT_CURSOR_H

/*
 * Where a scan stands, as text: base64url of version u8 | check u64 | key. The check binds the key
 * to the cluster, the range and the direction, so that a cursor of another scan is told from one of
 * this. It is no secret: whoever may scan may begin anywhere. SCAN-8.
 */

#include "common/bytes.h"
#include "common/limits.h"
#include "common/result.h"
#include "trusted/config/cluster.h"

struct cursor_scan {
    const uint8_t *cluster; /* CLUSTER_ID_LEN */
    struct bytes low, high;
    bool down;
};

enum {
    CURSOR_BYTES_MAX = 1 + 8 + KEY_MAX,
    CURSOR_TEXT_MAX = (CURSOR_BYTES_MAX + 2) / 3 * 4 + 1, /* with the final zero */
};

void cursor_write(const struct cursor_scan *s, struct bytes key, char to[static CURSOR_TEXT_MAX]);
/* MALFORMED: not a cursor. MISMATCH: of another scan. *ret_len bytes in `key_to`. */
RESULT cursor_read(const struct cursor_scan *s, const char *text, uint8_t key_to[static KEY_MAX],
                   size_t *ret_len);

#endif
