// SPDX-License-Identifier: Apache-2.0
/* The processes of CAS and LAS, and what the policy says of the programs. */
#include "tools/supervisor.h"

#include "daemons/log.h"
#include "tools/cli.h"
#include "tools/found.h"
#include "tools/slurp.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { AT_ONCE_MS = 5000, PAUSE_MS = 250, POLICY_MAX = 256 << 10, MEASURED_MAX = 4096 };

RESULT supervisor_service_open(struct supervisor *s, struct explain *why)
{
    static const struct {
        uint32_t number;
        const char *program;
    } which[] = {{UINT32_MAX, "avocado-cas"}, {UINT32_MAX - 1, "avocado-las"}};

    for (size_t i = 0; i < 2; i++) {
        struct supervisor_service *v = &s->services[i];

        v->number = which[i].number;
        v->process = node_process_find(s->folder.fd, v->number);
        if (!cli_find_program(which[i].program, v->program)) {
            (void)snprintf(why->text, sizeof(why->text), "%s is not beside this program",
                           which[i].program);
            return ERR_IO;
        }
    }
    return OK;
}

static void reap(struct supervisor *s, struct supervisor_service *v)
{
    struct pollfd p = {.fd = v->process.pidfd, .events = POLLIN};
    char last[200], title[24];

    if (v->process.state != NODE_ALIVE || poll(&p, 1, 0) != 1) {
        return;
    }
    node_process_reaped(&v->process);
    node_process_last_words(s->folder.fd, v->number, last, sizeof(last));
    node_log("warning", "%s ended: %s", node_process_title(v->number, title), last);
    v->ended_at_once = s->now_ms - v->started_at_ms < AT_ONCE_MS ? v->ended_at_once + 1 : 0;
    v->start_at_ms =
        v->ended_at_once == 0
            ? s->now_ms
            : s->now_ms + ((uint64_t)PAUSE_MS << (v->ended_at_once < 8 ? v->ended_at_once - 1 : 7));
}

/* What answers before it has joined has nothing to join yet: the LAS waits for the CAS's CA. */
static bool may_start(const struct supervisor *s, const struct supervisor_service *v)
{
    return v->process.state != NODE_ALIVE && s->now_ms >= v->start_at_ms &&
           (v->number == NODE_CAS || s->cas.is_up);
}

static void start(struct supervisor *s, struct supervisor_service *v)
{
    struct node_words w = {.start = {.dir = s->folder.fd}};
    struct explain why = {{0}};
    char title[24];

    if (v->number == NODE_CAS) {
        node_words_cas(v->program, s->wishes.cas, s->founds, &w);
        s->founds = false;
    } else {
        node_words_las(v->program, s->wishes.cas, &w);
    }
    v->started_at_ms = s->now_ms;
    if (node_process_start(&w.start, &v->process, &why) != OK) {
        node_log("error", "%s", why.text);
        v->start_at_ms = s->now_ms + PAUSE_MS;
        return;
    }
    node_log("info", "%s started", node_process_title(v->number, title));
}

void supervisor_service_step(struct supervisor *s)
{
    for (size_t i = 0; i < 2; i++) {
        reap(s, &s->services[i]);
        if (may_start(s, &s->services[i])) {
            start(s, &s->services[i]);
        }
    }
}

/* ---- measurements ---- */

/* Programs that were built anew since have other measurements. The owner's other rules stay as he
 * wrote them. */
static enum err renew_policy(struct supervisor *s, const struct found_measured *now,
                             const char *former_text, struct explain *why)
{
    const struct spit how = {s->folder.fd, 0644, true};
    struct found_measured former;
    uint8_t *policy = NULL;
    size_t n = 0;
    char *next = NULL, *measured = found_measured_format(now);
    json_t *answer = NULL;
    enum err err = ERR_IO;

    (void)snprintf(why->text, sizeof(why->text),
                   "policy.yaml does not name the programs that this machine has now; name them, "
                   "see 'avocado measure'");
    if (slurp_at(s->folder.fd, "policy.yaml", POLICY_MAX, &policy, &n) == SLURP_OK &&
        found_measured_parse(former_text, &former)) {
        next = found_policy_renew((const char *)policy, &former, now);
    }
    if (next != NULL && measured != NULL) {
        err =
            supervisor_cas_call(s, "/v1/policy", json_pack("{s:s}", "policy", next), &answer, why);
    }
    if (err == OK) {
        node_log("info", "the programs were built anew: the policy names the new ones");
        json_decref(answer);
        err = spit_at(&how, "policy.yaml", next, strlen(next)) &&
                      spit_at(&how, "measured", measured, strlen(measured))
                  ? OK
                  : ERR_IO;
    }
    free(next);
    free(policy);
    free(measured);
    return err;
}

void supervisor_service_measure(struct supervisor *s)
{
    struct found_measured now;
    struct explain why = {{0}};
    char *text = NULL;
    uint8_t *former = NULL;
    size_t n = 0;
    enum err err = found_measure(&now, &why);

    if (err == OK) {
        text = found_measured_format(&now);
    }
    if (text != NULL && slurp_at(s->folder.fd, "measured", MEASURED_MAX, &former, &n) == SLURP_OK &&
        strcmp((const char *)former, text) != 0) {
        err = renew_policy(s, &now, (const char *)former, &why);
    }
    if (err != OK) {
        node_log("error", "%s", why.text);
    }
    free(former);
    free(text);
}
