// SPDX-License-Identifier: Apache-2.0
/* avocado-bench with the other stores built in; not installed. --cluster as in peers/peer.h */
#include "peers/peer.h"

#include <stddef.h>

int main(int argc, char **argv)
{
    static const struct bench_target *const targets[] = {&bench_avocado, &bench_redis,
                                                         &bench_memcached, &bench_etcd, NULL};

    return bench_main(argc, argv, targets);
}
