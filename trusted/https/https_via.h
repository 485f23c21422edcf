// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_HTTPS_HTTPS_VIA_H
#define TRUSTED_HTTPS_HTTPS_VIA_H

#include "trusted/https/https.h"

/* A BIO over `to`, for one call; its method is to be freed after it. NULL: no memory. */
BIO *https_via_bio(const struct https_via *to, uint64_t until_ms, BIO_METHOD **ret_method);

#endif
