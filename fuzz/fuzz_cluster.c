// SPDX-License-Identifier: Apache-2.0
/* Configuration texts: what parses must format to a text that parses to the same. */
#include "common/check.h"
#include "trusted/config/cluster.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cluster c = {0}, again = {0};
    struct explain why = {0};
    char *text = NULL, *again_text = NULL;

    if (cluster_parse((const char *)data, size, &c, &why) != OK) {
        CHECK(why.text[0] != '\0' && strchr(why.text, '\n') == NULL);
        return 0;
    }
    text = cluster_format(&c);
    CHECK(text != NULL);
    CHECK(cluster_parse(text, strlen(text), &again, &why) == OK);
    again_text = cluster_format(&again);
    CHECK(again_text != NULL && strcmp(text, again_text) == 0);
    free(again_text);
    free(text);
    return 0;
}
