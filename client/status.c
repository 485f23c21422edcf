// SPDX-License-Identifier: Apache-2.0
#include "client/status.h"

static const struct {
    const char *name;
    const char *text;
} statuses[] = {
    [AVO_OK] = {"OK", "ok"},
    [AVO_NOT_FOUND] = {"NOT_FOUND", "no such key"},
    [AVO_USAGE] = {"USAGE", "wrong argument, nothing was done"},
    [AVO_UNAVAILABLE] = {"UNAVAILABLE", "no replica or no majority answered in time, nothing was "
                                        "done"},
    [AVO_INDETERMINATE] = {"INDETERMINATE", "the outcome is unknown: the write may or may not have "
                                            "happened"},
    [AVO_REFUSED] = {"REFUSED", "refused by authentication or policy, nothing was done"},
    [AVO_INTEGRITY] = {"INTEGRITY",
                       "the stored value was tampered with and no replica could repair "
                       "it"},
    [AVO_TOO_BIG] = {"TOO_BIG", "key or value above the limit, nothing was done"},
    [AVO_ENCLAVE_MEMORY] = {"ENCLAVE_MEMORY",
                            "the cluster's enclave memory is used up, nothing was "
                            "done"},
    [AVO_HOST_MEMORY] = {"HOST_MEMORY", "the cluster's host memory is used up, nothing was done"},
    [AVO_BUSY] = {"BUSY", "too many operations in flight, nothing was done"},
    [AVO_NO_MEMORY] = {"NO_MEMORY", "this process is out of memory, nothing was done"},
    [AVO_MISMATCH] = {"MISMATCH", "the key holds something else, nothing was done"},
    [AVO_NOT_NUMBER] = {"NOT_NUMBER",
                        "the value is not a decimal number of 64 bits, nothing was done"},
    [AVO_OVERFLOW] = {"OVERFLOW", "the sum does not fit 64 bits, nothing was done"},
};

enum { STATUSES_N = sizeof(statuses) / sizeof(statuses[0]) };

AVO_API const char *avo_status_text(enum avo_status s)
{
    return (unsigned)s < STATUSES_N ? statuses[s].text : "unknown status";
}

AVO_API const char *avo_status_name(enum avo_status s)
{
    return (unsigned)s < STATUSES_N ? statuses[s].name : "UNKNOWN";
}

AVO_API const char *avo_version(void)
{
    return AVOCADO_VERSION;
}

const char *status_op_name(enum avo_op op)
{
    switch (op) {
    case AVO_GET:
        return "get";
    case AVO_PUT:
        return "put";
    case AVO_DELETE:
        return "delete";
    case AVO_CAS:
        return "compare-and-set";
    case AVO_PUT_NEW:
        return "put-if-absent";
    case AVO_INCR:
        return "increment";
    case AVO_APPEND:
        return "append";
    case AVO_GET_SET:
        return "get-and-set";
    case AVO_DELETE_IF:
        return "delete-if";
    default:
        return "operation";
    }
}

enum avo_status status_of(enum err err)
{
    switch (err) {
    case OK:
        return AVO_OK;
    case ERR_NOT_FOUND:
        return AVO_NOT_FOUND;
    case ERR_USAGE:
    case ERR_MALFORMED:
    case ERR_IO:
        return AVO_USAGE;
    case ERR_AUTH:
    case ERR_POLICY:
        return AVO_REFUSED;
    case ERR_INTEGRITY:
    case ERR_LOST:
        return AVO_INTEGRITY;
    case ERR_TOO_BIG:
        return AVO_TOO_BIG;
    case ERR_ENCLAVE_MEMORY:
        return AVO_ENCLAVE_MEMORY;
    case ERR_HOST_MEMORY:
        return AVO_HOST_MEMORY;
    case ERR_BUSY:
        return AVO_BUSY;
    case ERR_FULL:
        return AVO_NO_MEMORY;
    case ERR_INDETERMINATE:
        return AVO_INDETERMINATE;
    case ERR_MISMATCH:
        return AVO_MISMATCH;
    case ERR_NOT_NUMBER:
        return AVO_NOT_NUMBER;
    case ERR_OVERFLOW:
        return AVO_OVERFLOW;
    case ERR_UNAVAILABLE:
    case ERR_TIMEOUT:
    case ERR_CLOSED:
    case ERR_EPOCH:
    case ERR_REPLAY:
    case ERR_BOUNDARY:
    case ERR_UNKNOWN_INDEX:
    case ERR_N:
    default:
        return AVO_UNAVAILABLE;
    }
}
