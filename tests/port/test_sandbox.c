// SPDX-License-Identifier: Apache-2.0
/* What is left to a replica in split mode once it serves: RING-9. In a child, for there is no way
 * back. */
#include "trusted/port/port.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* True if the call is not allowed. */
#define DENIED(call) (errno = 0, (call) == -1 && errno == EPERM)

static int pair[2], bell;
static sem_t begun;

/* Even with a socket that is open already. */
static bool no_network(void)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    struct msghdr m = {0};
    char byte = 0;

    return DENIED(socket(AF_INET, SOCK_DGRAM, 0)) && DENIED(socket(AF_UNIX, SOCK_STREAM, 0)) &&
           DENIED(socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) &&
           DENIED(connect(pair[0], (struct sockaddr *)&sa, sizeof(sa))) &&
           DENIED(bind(pair[0], (struct sockaddr *)&sa, sizeof(sa))) &&
           DENIED(listen(pair[0], 1)) && DENIED(accept(pair[0], NULL, NULL)) &&
           DENIED(send(pair[0], &byte, 1, 0)) && DENIED(recv(pair[0], &byte, 1, 0)) &&
           DENIED(sendmsg(pair[0], &m, 0)) && DENIED(recvmsg(pair[0], &m, 0)) &&
           DENIED(shutdown(pair[0], SHUT_RDWR)) &&
           DENIED(syscall(SYS_io_uring_setup, 1, &(struct io_uring_params){0}));
}

static bool no_files_no_programs(void)
{
    char byte;
    struct iovec iov = {&byte, 1};

    return DENIED(open("/dev/null", O_RDONLY)) && DENIED(syscall(SYS_memfd_create, "x", 0)) &&
           DENIED(execl("/bin/true", "true", NULL)) && DENIED(syscall(SYS_clone3, NULL, 0)) &&
           DENIED(fork()) && DENIED(ptrace(PTRACE_TRACEME, 0, NULL, NULL)) &&
           DENIED(process_vm_readv(getppid(), &iov, 1, &iov, 1, 0));
}

static bool no_new_code(void)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return p != MAP_FAILED && DENIED(mprotect(p, 4096, PROT_READ | PROT_EXEC)) &&
           mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
               MAP_FAILED &&
           mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, bell, 0) == MAP_FAILED;
}

static bool the_rest_works(void)
{
    uint64_t n = 1;
    char chance[8];
    void *p = malloc(64 << 20);

    memset(p, 1, 64 << 20);
    free(p);
    return write(bell, &n, sizeof(n)) == sizeof(n) && read(bell, &n, sizeof(n)) == sizeof(n) &&
           getrandom(chance, sizeof(chance), 0) == sizeof(chance);
}

static void *other_thread(void *arg)
{
    uint64_t n;

    (void)sem_post(&begun);           /* what begins a thread, sanitizers included, is done */
    (void)!read(bell, &n, sizeof(n)); /* until the filter is there */
    *(bool *)arg = no_network();
    return NULL;
}

static int child(void)
{
    bool other = false;
    uint64_t n = 1;
    pthread_t thread;

    if (sem_init(&begun, 0, 0) != 0 || pthread_create(&thread, NULL, other_thread, &other) != 0 ||
        sem_wait(&begun) != 0 || !port_sandbox() || write(bell, &n, sizeof(n)) != sizeof(n) ||
        pthread_join(thread, NULL) != 0) {
        return 1;
    }
    return !other                    ? 2
           : !no_network()           ? 3
           : !no_files_no_programs() ? 4
           : !no_new_code()          ? 5
           : !the_rest_works()       ? 6
                                     : 0;
}

static void a_process_that_gave_up_system_calls(void **state)
{
    int status;
    pid_t pid;

    (void)state;
    bell = eventfd(0, EFD_CLOEXEC);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    pid = fork();
    if (pid == 0) {
        _exit(child());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_process_that_gave_up_system_calls),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
