// SPDX-License-Identifier: Apache-2.0
#include "daemons/news.h"

#include "daemons/log.h"
#include "host/run/clock.h"

#include <stdlib.h>
#include <string.h>

static void set_trust(struct control *control, const struct renewal_trust *t)
{
    if (t->ca_pem != NULL && t->config != NULL) {
        control_set_trust(control, (struct bytes){(const uint8_t *)t->ca_pem, strlen(t->ca_pem)},
                          (struct bytes){(const uint8_t *)t->config, strlen(t->config)},
                          (struct bytes){t->sig, t->sig_n});
    }
}

static void set_identity(struct control *control, const struct renewal_news *news,
                         struct identity **in_use)
{
    if (control_set_identity(control, clock_now_ns(), news->identity) == OK) {
        identity_free(*in_use);
        *in_use = news->identity;
        set_trust(control, &news->trust);
    } else {
        node_log("error", "the CAS renewed our certificate under another name; it is not used");
        identity_free(news->identity);
    }
}

static void set_config(struct control *control, const struct cluster_signed *config)
{
    struct explain why = {{0}};
    enum err err = control_configure(control, clock_now_ns(), config->text, config->sig, &why);

    if (err != OK && err != ERR_EPOCH) {
        node_log("error", "the CAS's configuration is not taken: %s", why.text);
    }
}

void news_take(struct renewal *r, struct control *control, struct identity **in_use)
{
    struct renewal_news *news = calloc(1, sizeof(*news)); /* too large for a stack */

    if (news == NULL) {
        return; /* and comes again: nothing was read */
    }
    renewal_take(r, news);
    if (news->identity != NULL) {
        set_identity(control, news, in_use);
    }
    if (news->has_revoked) {
        control_set_revoked(control, clock_now_ns(), &news->revoked);
    }
    if (news->config.text.n > 0) {
        set_config(control, &news->config);
        cluster_signed_free(&news->config);
    }
    renewal_trust_free(&news->trust);
    free(news);
}
