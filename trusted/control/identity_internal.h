// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_CONTROL_IDENTITY_INTERNAL_H
#define TRUSTED_CONTROL_IDENTITY_INTERNAL_H

#include "trusted/control/identity.h"

/* One line about a certificate that X509_verify_cert refused with `verify_err`. `whose` begins the
 * sentence ("our certificate", "the other end's certificate"); `cert` may be NULL. */
void identity_explain_verify(struct explain *why, const char *whose, long verify_err, X509 *cert);

/* Unix time of a date in a certificate. False: it is none. */
bool identity_read_time(const ASN1_TIME *time, uint64_t *ret_s);

/* Unix time that identity_from_* was given. */
uint64_t identity_loaded_at_s(const struct identity *id);

#endif
