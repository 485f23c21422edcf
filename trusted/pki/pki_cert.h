// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_PKI_PKI_CERT_H
#define TRUSTED_PKI_PKI_CERT_H

/* What every certificate that we make is made of; for the makers of certificates only. */

#include "trusted/config/cluster.h"
#include "trusted/pki/pki.h"

#include <openssl/bio.h>
#include <openssl/x509.h>

/* Version, random serial number, dates (from an hour before now_s), subject and key. NULL: no
 * memory. */
X509 *pki_cert_new(const char *common_name, EVP_PKEY *key, const struct pki_dates *dates);
/* Adds an extension as the configuration syntax of OpenSSL spells it; `value` is ours, never
 * somebody's input. */
bool pki_cert_extend(X509 *cert, X509 *issuer, int nid, const char *value);
/* The contents of a memory BIO as a heap string; frees (and, for secmem, wipes) the BIO. NULL: it
 * was empty, or no memory. */
char *pki_take_text(BIO *bio);
/* ERR_IO, always: `what` and OpenSSL's reason. */
enum err pki_refuse(struct explain *why, const char *what);
/* The pem_password_cb of somebody who never asks. */
int pki_no_passphrase(char *to, int size, int rwflag, void *ctx);

#endif
