// SPDX-License-Identifier: Apache-2.0
#include "host/net/index_gate.h"

#include "common/index_check.h"

#include <linux/filter.h>
#include <linux/sock_diag.h>
#include <sys/socket.h>

enum {
    /* Offsets behind the UDP header, where a filter of a UDP socket begins to count. */
    AT_KIND = 8,
    AT_PHASE = 9,
    AT_ZERO = 10,
    AT_INDEX = 12,
    KIND = 0x11, /* RPC-1: version 1, DATA */
    PHASE_MAX = 3,
    ALL = -1,
};

#define LOAD8(at) BPF_STMT(BPF_LD | BPF_B | BPF_ABS, (at))
#define OR_X BPF_STMT(BPF_ALU | BPF_OR | BPF_X, 0)
#define SHIFT_TO_X BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 8), BPF_STMT(BPF_MISC | BPF_TAX, 0)

/* A load behind the end ends the program with "drop". */
RESULT index_gate_attach(int sock, uint32_t key)
{
    struct sock_filter program[] = {
        LOAD8(AT_KIND),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, KIND, 0, 19),
        LOAD8(AT_PHASE),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, PHASE_MAX, 17, 0),
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, AT_ZERO),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 15),
        LOAD8(AT_INDEX + 2),
        SHIFT_TO_X,
        LOAD8(AT_INDEX + 1),
        OR_X,
        SHIFT_TO_X,
        LOAD8(AT_INDEX),
        OR_X,
        BPF_STMT(BPF_ALU | BPF_MUL | BPF_K, key),
        BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, INDEX_CHECK_SHIFT),
        BPF_STMT(BPF_MISC | BPF_TAX, 0),
        LOAD8(AT_INDEX + 3),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_X, 0, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, (uint32_t)ALL),
        BPF_STMT(BPF_RET | BPF_K, 0),
    };
    const struct sock_fprog all = {.len = sizeof(program) / sizeof(program[0]), .filter = program};

    return setsockopt(sock, SOL_SOCKET, SO_ATTACH_FILTER, &all, sizeof(all)) == 0 ? OK : ERR_IO;
}

uint64_t index_gate_dropped(int sock)
{
    uint32_t info[SK_MEMINFO_VARS] = {0};
    socklen_t n = sizeof(info);

    (void)getsockopt(sock, SOL_SOCKET, SO_MEMINFO, info, &n);
    return info[SK_MEMINFO_DROPS];
}
