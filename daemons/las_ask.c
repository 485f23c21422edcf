// SPDX-License-Identifier: Apache-2.0
#include "daemons/las_ask.h"

#include "trusted/config/explain.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { TIMEOUT_S = 5 };

static const char gramine[] = "/dev/attestation";

static enum err connect_to(const char *path, int *ret, struct explain *why)
{
    const struct timeval timeout = {.tv_sec = TIMEOUT_S};
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    if (fd < 0 || strlen(path) >= sizeof(a.sun_path)) {
        explain(why, "%s is no path of a socket", path);
    } else {
        memcpy(a.sun_path, path, strlen(path) + 1);
        if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) == 0 &&
            setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) == 0 &&
            connect(fd, (const struct sockaddr *)&a, sizeof(a)) == 0) {
            *ret = fd;
            return OK;
        }
        explain(why,
                "no LAS serves at %s: %s; start avocado-las, or give evidence of our own with "
                "--evidence",
                path, strerror(errno));
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return ERR_UNAVAILABLE;
}

static enum err ask(int fd, const struct las_request *m, struct las_reply *ret, struct explain *why)
{
    uint8_t out[LAS_REQUEST_MAX], in[LAS_REPLY_MAX];
    size_t out_n = las_request_write(m, (struct mbytes){out, sizeof(out)});
    ssize_t n =
        send(fd, out, out_n, MSG_NOSIGNAL) == (ssize_t)out_n ? recv(fd, in, sizeof(in), 0) : -1;

    if (n <= 0 || las_reply_read((struct bytes){in, (size_t)n}, m->kind, ret) != OK) {
        explain(why, "the LAS does not answer; look into its log");
        return ERR_UNAVAILABLE;
    }
    if (ret->err != OK) {
        explain(why, "the LAS refuses us: %s", ret->text);
    }
    return ret->err;
}

/* Gramine: for whom, over what, and then the report. */
static enum err local_report(const uint8_t target[static LAS_TARGET_LEN],
                             const struct evidence_binding *b, uint8_t ret[static LAS_REPORT_LEN],
                             struct explain *why)
{
    uint8_t data[EVIDENCE_REPORT_DATA_LEN];
    const struct {
        const char *name;
        const void *p;
        size_t n;
    } writes[] = {{"target_info", target, LAS_TARGET_LEN},
                  {"user_report_data", data, sizeof(data)}};
    char path[64];
    int fd = -1;
    bool good = true;

    evidence_report_data(b, data);
    for (size_t i = 0; good && i < 2; i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", gramine, writes[i].name);
        fd = open(path, O_WRONLY | O_CLOEXEC);
        good = fd >= 0 && write(fd, writes[i].p, writes[i].n) == (ssize_t)writes[i].n;
        good = fd >= 0 && close(fd) == 0 && good;
    }
    if (good) {
        (void)snprintf(path, sizeof(path), "%s/report", gramine);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        good = fd >= 0 && read(fd, ret, LAS_REPORT_LEN) == LAS_REPORT_LEN;
        good = fd >= 0 && close(fd) == 0 && good;
    }
    if (!good) {
        explain(why, "%s: %s", path, strerror(errno));
    }
    return good ? OK : ERR_IO;
}

bool las_in_gramine(void)
{
    return access("/dev/attestation/my_target_info", F_OK) == 0;
}

static enum err converse(int fd, const struct evidence_binding *b, struct las_reply *ret,
                         struct explain *why)
{
    struct las_request m = {.binding = *b};

    if (las_in_gramine()) {
        m.kind = LAS_TARGET;
        TRY(ask(fd, &m, ret, why));
        m.kind = LAS_REPORT;
        TRY(local_report(ret->target, b, m.report, why));
        return ask(fd, &m, ret, why);
    }
    m.kind = LAS_HELLO;
    TRY(ask(fd, &m, ret, why));
    m.kind = LAS_MEASURE;
    memcpy(m.challenge, ret->challenge, sizeof(m.challenge));
    return ask(fd, &m, ret, why);
}

RESULT las_ask(const char *socket, const struct evidence_binding *b,
               uint8_t ret[static LAS_TOKEN_MAX], size_t *ret_n, struct explain *why)
{
    struct las_reply reply = {0};
    int fd = -1;
    enum err err = OK;

    TRY(connect_to(socket, &fd, why));
    err = converse(fd, b, &reply, why);
    (void)close(fd);
    if (err == OK) {
        memcpy(ret, reply.token, reply.token_n);
        *ret_n = reply.token_n;
    }
    return err;
}
