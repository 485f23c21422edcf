// SPDX-License-Identifier: Apache-2.0
#ifndef COMMON_SIPHASH_H
#define COMMON_SIPHASH_H

#include "common/bytes.h"

enum { SIPHASH_KEY_LEN = 16 };

/* SipHash-2-4: a keyed hash for tables whose keys an attacker may pick. With a secret random key
 * nobody outside can aim at one bucket. Not a message authenticator here: 64 bits are too few
 * (CRY-10). */
uint64_t siphash(const uint8_t key[static SIPHASH_KEY_LEN], struct bytes b);

/* SipHash-2-4 with 128 bits of output, for tables that take equal hashes for equal keys: without
 * the key nobody can look for a collision, and among 2^32 keys there is one with 2^-65. */
void siphash_wide(const uint8_t key[static SIPHASH_KEY_LEN], struct bytes b,
                  uint64_t ret[static 2]);

#endif
