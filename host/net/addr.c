// SPDX-License-Identifier: Apache-2.0
#include "host/net/addr.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

bool addr_parse(const char *text, uint16_t port, struct sockaddr_storage *ret, socklen_t *ret_len)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};

    memset(ret, 0, sizeof(*ret));
    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1) {
        memcpy(ret, &v4, sizeof(v4));
        *ret_len = sizeof(v4);
        return true;
    }
    if (inet_pton(AF_INET6, text, &v6.sin6_addr) == 1) {
        memcpy(ret, &v6, sizeof(v6));
        *ret_len = sizeof(v6);
        return true;
    }
    return false;
}

void addr_from_sockaddr(const struct sockaddr *sa, struct abi_addr *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (sa->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)sa;

        ret->family = 4;
        ret->port = ntohs(v4->sin_port);
        memcpy(ret->ip, &v4->sin_addr, 4);
    } else if (sa->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)sa;

        ret->family = 6;
        ret->port = ntohs(v6->sin6_port);
        ret->scope = v6->sin6_scope_id;
        memcpy(ret->ip, &v6->sin6_addr, 16);
    }
}

socklen_t addr_to_sockaddr(const struct abi_addr *a, struct sockaddr *ret)
{
    if (a->family == 4) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)ret;

        memset(v4, 0, sizeof(*v4));
        v4->sin_family = AF_INET;
        v4->sin_port = htons(a->port);
        memcpy(&v4->sin_addr, a->ip, 4);
        return sizeof(*v4);
    }
    if (a->family == 6) {
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)ret;

        memset(v6, 0, sizeof(*v6));
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(a->port);
        v6->sin6_scope_id = a->scope;
        memcpy(&v6->sin6_addr, a->ip, 16);
        return sizeof(*v6);
    }
    return 0;
}

void addr_format(const struct abi_addr *a, char to[static ADDR_TEXT])
{
    char ip[INET6_ADDRSTRLEN] = "";

    to[0] = 0;
    if (a->family == 4) {
        (void)inet_ntop(AF_INET, a->ip, ip, sizeof(ip));
        (void)snprintf(to, ADDR_TEXT, "%s:%u", ip, a->port);
    } else if (a->family == 6) {
        (void)inet_ntop(AF_INET6, a->ip, ip, sizeof(ip));
        (void)snprintf(to, ADDR_TEXT, "[%s]:%u", ip, a->port);
    }
}
