// SPDX-License-Identifier: Apache-2.0
/* The files of our identity may be exchanged while we run. CLI-17 */
#include "client/client.h"

#include <sys/stat.h>
#include <time.h>

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
