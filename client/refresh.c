// SPDX-License-Identifier: Apache-2.0
/*
 * The files of our identity may be exchanged while we run. CLI-17
 *
 * A connection ends with the certificate that it was made with, and then what is under way on it is
 * lost. So connections go over to a newer one before, one node after the other: new operations go
 * elsewhere, those that are at the node end, it is dialed anew, and the next one is not touched
 * before it stands.
 */
#include "client/client.h"

#include <sys/stat.h>
#include <time.h>

static const uint64_t MS = UINT64_C(1000000);

enum {
    LOOK_MIN_MS =
        200, /* between two looks at the files, which come sooner as the end comes nearer */
    LOOK_MAX_MS = 60000,
    LOOKS = 16,     /* in what is left of the certificate's life */
    MOVE_MS = 2000, /* patience with operations at a node that is left, and then with the node */
    POLL_MS = 5,
};

/* Changes when one of the files was written or replaced. */
static bool stamp_of(const struct avo_client *c, struct client_stamp *ret)
{
    const char *const paths[] = {c->profile.ca_file, c->profile.cert_file, c->profile.key_file};
    struct client_stamp s = {0};

    for (unsigned i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        struct stat st;

        if (stat(paths[i], &st) != 0) {
            return false;
        }
        s.at[i] = (struct client_file){.inode = (uint64_t)st.st_ino,
                                       .bytes = (uint64_t)st.st_size,
                                       .changed_ns = (uint64_t)st.st_ctim.tv_sec * 1000000000 +
                                                     (uint64_t)st.st_ctim.tv_nsec};
    }
    *ret = s;
    return true;
}

enum err client_load_identity(struct avo_client *c, struct explain *why)
{
    struct identity *id = NULL;
    struct client_stamp stamp = {0};
    bool has_stamp = stamp_of(c, &stamp); /* before they are read: a change meanwhile is seen */

    TRY(identity_from_files(c->profile.ca_file, c->profile.cert_file, c->profile.key_file,
                            (uint64_t)time(NULL), &id, why));
    identity_free(c->identity); /* connections keep what they need of it */
    c->identity = id;
    c->env.identity = id;
    c->env.identity_serial++;
    c->moving = CLUSTER_MAX;
    if (has_stamp) {
        c->stamp = stamp;
    }
    return OK;
}

void client_refresh_identity(struct avo_client *c)
{
    struct client_stamp stamp;
    struct explain why;

    if (stamp_of(c, &stamp) && memcmp(&stamp, &c->stamp, sizeof(stamp)) != 0) {
        (void)!client_load_identity(c, &why); /* half-written files are looked at again */
    }
}

static uint64_t next_look_ns(const struct avo_client *c)
{
    uint64_t until_s = identity_until(c->identity), now_s = (uint64_t)time(NULL);
    uint64_t left_ms = until_s > now_s ? (until_s - now_s) * 1000 / LOOKS : 0;

    left_ms = left_ms < LOOK_MIN_MS ? LOOK_MIN_MS : left_ms;
    return (left_ms > LOOK_MAX_MS ? LOOK_MAX_MS : left_ms) * MS;
}

/* One that stands under an older identity, if nobody is being dialed: never two at once. */
static uint32_t next_to_move(const struct avo_client *c)
{
    uint32_t found = CLUSTER_MAX;

    for (uint32_t place = 0; place < c->profile.members_n; place++) {
        const struct link *l = &c->links[place];

        if (l->state == LINK_CONNECTING || l->state == LINK_SHAKING) {
            return CLUSTER_MAX;
        }
        if (l->state == LINK_STANDING && l->identity != c->env.identity_serial) {
            found = place;
        }
    }
    return found;
}

/* True when the move is over, well or not. */
static bool move(struct avo_client *c, uint64_t now_ns)
{
    struct link *l = &c->links[c->moving];

    if (l->state == LINK_STANDING && l->identity == c->env.identity_serial) {
        return true;
    }
    if (l->state != LINK_STANDING) {
        return now_ns >= c->move_by_ns;
    }
    if (core_node_idle(c->core, c->moving) || now_ns >= c->move_by_ns) {
        core_node_down(c->core, now_ns, c->moving, true);
        link_drop(l, &c->env, now_ns, ERR_CLOSED, "we come again with a newer certificate");
        l->wake_at_ns = now_ns;
        c->move_by_ns = now_ns + MOVE_MS * MS;
    }
    return false;
}

void client_rotate(struct avo_client *c, uint64_t now_ns)
{
    if (now_ns >= c->look_at_ns) {
        client_refresh_identity(c);
        c->look_at_ns = now_ns + next_look_ns(c);
    }
    if (c->moving != CLUSTER_MAX && !move(c, now_ns)) {
        return;
    }
    c->moving = next_to_move(c);
    if (c->moving != CLUSTER_MAX) {
        core_node_leave(c->core, c->moving);
        c->move_by_ns = now_ns + MOVE_MS * MS;
    }
}

uint64_t client_rotate_at(const struct avo_client *c)
{
    if (c->core == NULL) {
        return UINT64_MAX;
    }
    return c->moving == CLUSTER_MAX ? c->look_at_ns : c->links_at_ns + POLL_MS * MS;
}
