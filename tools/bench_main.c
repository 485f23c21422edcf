// SPDX-License-Identifier: Apache-2.0
#include "tools/bench_target.h"

#include <stddef.h>

int main(int argc, char **argv)
{
    static const struct bench_target *const targets[] = {&bench_avocado, NULL};

    return bench_main(argc, argv, targets);
}
