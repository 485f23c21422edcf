// SPDX-License-Identifier: Apache-2.0
/*
 * The smallest whole program: write, read, delete, and say why if something failed.
 *
 *     cc hello.c $(pkg-config --cflags --libs libavocado) -o hello
 *     ./hello demo/client.yaml
 */
#include <avocado.h>
#include <stdio.h>
#include <stdlib.h>

static int fail(const char *what, enum avo_status status, const char *why)
{
    (void)fprintf(stderr, "%s: %s: %s\n", what, avo_status_name(status), why);
    return EXIT_FAILURE;
}

static int greet(struct avo_client *c)
{
    void *value = NULL;
    size_t value_len = 0;
    enum avo_status status;

    status = avo_put(c, "greeting", 8, "hello, world", 12);
    if (status != AVO_OK) {
        return fail("put", status, avo_last_error(c));
    }
    status = avo_get(c, "greeting", 8, &value, &value_len);
    if (status != AVO_OK) {
        return fail("get", status, avo_last_error(c));
    }
    (void)printf("%.*s\n", (int)value_len, (const char *)value);
    free(value);

    status = avo_delete(c, "greeting", 8);
    if (status != AVO_OK) {
        return fail("delete", status, avo_last_error(c));
    }
    status = avo_get(c, "greeting", 8, &value, &value_len);
    if (status != AVO_NOT_FOUND) {
        return fail("get after delete", status, avo_last_error(c));
    }
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    struct avo_client *client;
    char why[512];
    enum avo_status status;
    int code;

    if (argc != 2) {
        (void)fprintf(stderr, "usage: hello CLIENT.YAML\n");
        return 2;
    }
    status = avo_open(argv[1], NULL, &client, why, sizeof(why));
    if (status != AVO_OK) {
        return fail("open", status, why);
    }
    code = greet(client);
    avo_close(client);
    return code;
}
