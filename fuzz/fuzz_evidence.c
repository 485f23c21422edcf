// SPDX-License-Identifier: Apache-2.0
/* Evidence as it travels in JSON: what is taken is given out again as it came. */
#include "common/check.h"
#include "trusted/evidence/evidence.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct evidence e = {0};
    struct explain why = {0};
    json_t *json = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);
    json_t *again = NULL;

    if (json != NULL && evidence_from_json(json, &e, &why) == OK) {
        again = evidence_to_json(&e);
        CHECK(again != NULL);
        CHECK(strcmp(json_string_value(json_object_get(json, "evidence")),
                     json_string_value(json_object_get(again, "evidence"))) == 0);
        evidence_free(&e);
    } else if (json != NULL) {
        CHECK(why.text[0] != '\0');
    }
    json_decref(again);
    json_decref(json);
    return 0;
}
