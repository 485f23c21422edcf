// SPDX-License-Identifier: Apache-2.0
#include "peers/peer.h"

#include "tools/options.h"

#include <stdio.h>
#include <string.h>

static bool refuse(char *why, size_t why_size, const char *text, const char *what)
{
    (void)snprintf(why, why_size, "%s: %s", text, what);
    return false;
}

static bool set(struct peer_url *u, char *pair)
{
    char *value = strchr(pair, '=');

    if (value == NULL) {
        return false;
    }
    *value++ = '\0';
    if (strcmp(pair, "ca") == 0) {
        u->ca = value;
        return true;
    }
    if (strcmp(pair, "wait") == 0) {
        return options_number(value, &u->wait);
    }
    return strcmp(pair, "every") == 0 && options_number(value, &u->every) && u->every > 0;
}

bool peer_url_parse(const char *url, struct peer_url *ret, char *why, size_t why_size)
{
    const char *rest = strstr(url, "://");
    char *options, *word, *save = NULL;

    *ret = (struct peer_url){.every = 1};
    if (rest == NULL || strlen(rest) >= sizeof(ret->text)) {
        return refuse(why, why_size, url, "is no NAME://HOST:PORT");
    }
    memcpy(ret->text, rest + 3, strlen(rest + 3) + 1);
    options = strchr(ret->text, '?');
    if (options != NULL) {
        *options++ = '\0';
    }
    for (word = strtok_r(ret->text, ",", &save); word != NULL; word = strtok_r(NULL, ",", &save)) {
        char *port = strrchr(word, ':');

        if (port == NULL || ret->servers_n == PEER_SERVERS_MAX) {
            return refuse(why, why_size, word, "is no HOST:PORT, or one too many");
        }
        *port++ = '\0';
        ret->hosts[ret->servers_n] = word;
        ret->ports[ret->servers_n++] = port;
    }
    if (ret->servers_n == 0) {
        return refuse(why, why_size, url, "names no server");
    }
    word = options == NULL ? NULL : strtok_r(options, "&", &save);
    for (; word != NULL; word = strtok_r(NULL, "&", &save)) {
        if (!set(ret, word)) {
            return refuse(why, why_size, word, "is none of ca=FILE, wait=R, every=N");
        }
    }
    return true;
}
