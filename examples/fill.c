// SPDX-License-Identifier: Apache-2.0
/*
 * Many writes at a time: keeps DEPTH operations under way on one client and counts how they end.
 *
 *     cc fill.c $(pkg-config --cflags --libs libavocado) -o fill
 *     ./fill demo/client.yaml 100000
 */
#include <avocado.h>
#include <stdio.h>
#include <stdlib.h>

enum { DEPTH = 256, BATCH = 64 };

/* Submits until DEPTH operations are under way or all were submitted. Nothing is sent yet: what is
 * submitted together shares datagrams. */
static int submit_more(struct avo_client *c, unsigned long *next, unsigned long all)
{
    while (*next < all && avo_in_flight(c) < DEPTH) {
        char key[32];
        int key_len = snprintf(key, sizeof(key), "user:%lu", *next);
        enum avo_status status =
            avo_submit(c, AVO_PUT, key, (size_t)key_len, "some value", 10, *next);

        if (status != AVO_OK) {
            (void)fprintf(stderr, "submit: %s\n", avo_last_error(c));
            return -1;
        }
        (*next)++;
    }
    return 0;
}

static int fill(struct avo_client *c, unsigned long all)
{
    struct avo_completion done[BATCH];
    unsigned long next = 0, ended = 0, failed = 0;

    while (ended < all) {
        size_t n;

        if (submit_more(c, &next, all) != 0) {
            return EXIT_FAILURE;
        }
        n = avo_poll(c, done, BATCH, -1);
        for (size_t i = 0; i < n; i++) {
            if (done[i].status != AVO_OK) {
                (void)fprintf(stderr, "user:%llu: %s\n", (unsigned long long)done[i].user,
                              avo_status_text(done[i].status));
                failed++;
            }
        }
        ended += n;
    }
    (void)printf("%lu written, %lu failed\n", all - failed, failed);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    struct avo_options options = {.in_flight_max = DEPTH};
    struct avo_client *client;
    char why[512];
    int code;

    if (argc < 2 || argc > 3) {
        (void)fprintf(stderr, "usage: fill CLIENT.YAML [COUNT]\n");
        return 2;
    }
    if (avo_open(argv[1], &options, &client, why, sizeof(why)) != AVO_OK) {
        (void)fprintf(stderr, "open: %s\n", why);
        return EXIT_FAILURE;
    }
    code = fill(client, argc == 3 ? strtoul(argv[2], NULL, 10) : 1000);
    avo_close(client);
    return code;
}
