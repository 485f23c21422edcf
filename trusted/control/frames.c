// SPDX-License-Identifier: Apache-2.0
#include "trusted/control/frames.h"

#include "common/check.h"

#include <stdlib.h>

enum { LENGTH_LEN = 4 };

void frames_fini(struct frames *f)
{
    free(f->p);
    *f = (struct frames){0};
}

/* What is held is wanted up to n bytes; true once it is there. */
static bool fill(struct frames *f, struct tls *from, size_t n)
{
    if (f->cap < n) {
        uint8_t *more = realloc(f->p, n);

        CHECK(more != NULL);
        f->p = more;
        f->cap = n;
    }
    f->len += tls_read(from, (struct mbytes){.p = f->p + f->len, .n = n - f->len});
    return f->len == n;
}

RESULT frames_take(struct frames *f, struct tls *from, size_t max, struct control_message *ret,
                   bool *ret_have)
{
    uint32_t body = 0;

    if (f->is_taken) {
        f->is_taken = false;
        f->len = 0;
    }
    if (f->len < LENGTH_LEN && !fill(f, from, LENGTH_LEN)) {
        *ret_have = false;
        return OK;
    }
    memcpy(&body, f->p, sizeof(body));
    if (body == 0 || body > max) {
        return ERR_MALFORMED;
    }
    if (!fill(f, from, LENGTH_LEN + (size_t)body)) {
        *ret_have = false;
        return OK;
    }
    TRY(control_message_decode((struct bytes){.p = f->p + LENGTH_LEN, .n = body}, ret));
    f->is_taken = true;
    *ret_have = true;
    return OK;
}

RESULT frames_send(struct tls *to, const struct control_message *m)
{
    size_t cap = CONTROL_WELCOME_MAX + m->text.n + m->sig.n, n = 0;
    uint8_t *text = malloc(cap);
    enum err err = OK;

    CHECK(text != NULL);
    err = control_message_encode(m, (struct mbytes){.p = text, .n = cap}, &n);
    if (err == OK) {
        err = tls_write(to, (struct bytes){.p = text, .n = n});
    }
    free(text);
    return err;
}
