// SPDX-License-Identifier: Apache-2.0
#ifndef TRUSTED_PORT_PORT_INTERNAL_H
#define TRUSTED_PORT_PORT_INTERNAL_H

#include <stdbool.h>

/* Makes OpenSSL allocate from enclave memory. False: it has allocated before. */
bool port_openssl_init(void);

#endif
