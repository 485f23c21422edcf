// SPDX-License-Identifier: Apache-2.0
#include "tools/client_yaml.h"

#include <stdio.h>
#include <stdlib.h>

char *client_yaml_format(const struct cluster *c, const char *ca_file)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    bool failed = false;

    if (f == NULL) {
        return NULL;
    }
    failed |= fprintf(f, "cluster: \"") < 0;
    for (size_t i = 0; i < CLUSTER_ID_LEN; i++) {
        failed |= fprintf(f, "%02x", c->id[i]) < 0;
    }
    failed |= fprintf(f,
                      "\"\nname: \"%s\"\nca_file: %s\ncert_file: client.crt\n"
                      "key_file: client.key\nmembers:\n",
                      c->name, ca_file) < 0;
    for (uint32_t i = 0; i < c->members_n; i++) {
        failed |= fprintf(f, "  - node: %u\n    address: \"%s\"\n    control_port: %u\n",
                          c->members[i].node, c->members[i].address,
                          (unsigned)c->members[i].control_port) < 0;
    }
    failed |= fclose(f) != 0;
    if (failed) {
        free(text);
        return NULL;
    }
    return text;
}
