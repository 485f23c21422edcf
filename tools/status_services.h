// SPDX-License-Identifier: Apache-2.0
#ifndef TOOLS_STATUS_SERVICES_H
#define TOOLS_STATUS_SERVICES_H

/* CAS and LAS of a cluster on this machine, as `avocado status` shows them. */

#include "tools/cas_link.h"
#include "tools/node_process.h"

struct status_services {
    bool known; /* there is a folder to ask in */
    char address[HOST_MAX_LEN + 16];
    struct node_process cas, las; /* without a handle */
    json_t *health;               /* of the CAS; NULL: it does not answer, */
    struct explain why;           /* because of this */
};

/* Asks the CAS, for so long. */
void status_services_ask(int dir, uint32_t timeout_ms, struct status_services *ret);
void status_services_free(struct status_services *s);
/* Two lines, and a third while somebody has to wait for the CAS. */
void status_services_print(const struct status_services *s);
/* Adds "cas" and "las". */
void status_services_json(const struct status_services *s, json_t *to);

#endif
