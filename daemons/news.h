// SPDX-License-Identifier: Apache-2.0
#ifndef DAEMONS_NEWS_H
#define DAEMONS_NEWS_H

#include "daemons/renewal.h"

/* Gives the control machine what the CAS told the renewal: a certificate and the CAs that are
 * trusted with it, names that are revoked, a newer configuration. *in_use: the identity that was
 * given before, if any; the caller's to free at the end. To be driven after. */
void news_take(struct renewal *r, struct control *control, struct identity **in_use);

#endif
