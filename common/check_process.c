// SPDX-License-Identifier: Apache-2.0
#include "common/check.h"

#include <stdio.h>
#include <stdlib.h>

void check_failed(const char *file, int line, const char *cond)
{
    (void)fprintf(stderr, "avocado: internal error at %s:%d: CHECK(%s) failed; stopping\n", file,
                  line, cond);
    abort();
}
