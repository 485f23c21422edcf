// SPDX-License-Identifier: Apache-2.0
#ifndef COMMON_SIPHASH_H
#define COMMON_SIPHASH_H

#include "common/bytes.h"

enum { SIPHASH_KEY_LEN = 16 };

/* SipHash-2-4: a keyed hash for tables whose keys an attacker may pick. With a secret random key
 * nobody outside can aim at one bucket. Not a message authenticator here: 64 bits are too few
 * (CRY-10). */
uint64_t siphash(const uint8_t key[static SIPHASH_KEY_LEN], struct bytes b);

#endif
