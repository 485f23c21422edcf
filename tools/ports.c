// SPDX-License-Identifier: Apache-2.0
#include "tools/ports.h"

#include <netinet/in.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    LOWEST = 20000,
    HIGHEST = 32767, /* the kernel gives out those above for outgoing connections */
    TRIES = 200,
};

static bool is_free(uint16_t port, int type)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), one = 1;
    bool free = false;

    if (fd < 0) {
        return false;
    }
    if (type == SOCK_STREAM) {
        /* Connections that are still winding down do not count. */
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    }
    free = bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0;
    free = free && (type != SOCK_STREAM || listen(fd, 1) == 0);
    (void)close(fd);
    return free;
}

bool ports_are_free(uint16_t first, uint16_t n, uint16_t stride, uint16_t *ret_busy)
{
    for (uint32_t i = 0; i < n; i++) {
        uint16_t port = (uint16_t)(first + i);

        if (!is_free(port, SOCK_DGRAM) || (i % stride == 0 && !is_free(port, SOCK_STREAM))) {
            *ret_busy = port;
            return false;
        }
    }
    return true;
}

uint16_t ports_find(uint16_t n, uint16_t stride)
{
    uint16_t busy = 0;

    for (int i = 0; i < TRIES; i++) {
        uint32_t random = 0, first;

        if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random)) {
            return 0;
        }
        first = LOWEST + random % (HIGHEST - LOWEST - n);
        if (ports_are_free((uint16_t)first, n, stride, &busy)) {
            return (uint16_t)first;
        }
    }
    return 0;
}
