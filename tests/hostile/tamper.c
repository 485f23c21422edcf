// SPDX-License-Identifier: Apache-2.0
/*
 * The hostile host as a process of its own: maps the arenas of a running avocadod that are files
 * (--arena-dir), and changes them at full speed while the replica reads and writes there.
 * Everything that a host can do to memory is done: bits flipped, blocks exchanged, former contents
 * put back, parts erased, words changed and changed back while they may be read, files cut short.
 *
 *   tamper PID SECONDS [ACT...]      acts: flip swap rollback erase race cut (default: all)
 *
 * Prints one line of JSON: how often each was done, and to how many bytes in how many arenas. It
 * takes root, or being the user of the process and its files. SIGTERM ends it earlier.
 */
#include "common/prng.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    ARENAS_MAX = 64,
    PAGE = 4096,
    EXTENTS_MAX = 4096,  /* of pages in use, as many as are looked at */
    SHADOW_PAGES = 8192, /* former contents that are kept */
    STRIKES = 4096,      /* between two looks at clock and pages in use */
    CUT_PAUSE_MS = 200,  /* a file that is always short is only short */
    RACE_ROUNDS = 64,
};

enum act { FLIP, SWAP, ROLLBACK, ERASE, RACE, CUT, ACTS };
static const char *const names[ACTS] = {"flip", "swap", "rollback", "erase", "race", "cut"};

struct arena {
    uint8_t *p;
    uint64_t bytes;
    struct {
        uint64_t at, n; /* pages */
    } extents[EXTENTS_MAX];
    uint64_t pages; /* in use */
    uint64_t cut_at_ms;
    uint32_t extents_n;
    int fd;
};

struct shadow {
    uint32_t arena;
    uint64_t at;
    uint8_t bytes[PAGE];
};

static struct arena arenas[ARENAS_MAX];
static uint32_t arenas_n;
static struct shadow *shadows;
static uint32_t shadows_n;
static uint64_t done[ACTS], failed_cuts;
static volatile sig_atomic_t stopped;

static void on_stop(int signal_)
{
    (void)signal_;
    stopped = 1;
}

static uint64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static bool open_arena(const char *path)
{
    struct arena *a = &arenas[arenas_n];
    struct stat st;

    a->fd = open(path, O_RDWR | O_CLOEXEC);
    if (a->fd < 0 || fstat(a->fd, &st) != 0) {
        return false;
    }
    a->bytes = (uint64_t)st.st_size;
    a->p = mmap(NULL, a->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, a->fd, 0);
    if (a->p == MAP_FAILED) {
        return false;
    }
    arenas_n++;
    return true;
}

static bool open_arenas(const char *pid)
{
    char folder[64], path[320], target[256];
    DIR *d;

    (void)snprintf(folder, sizeof(folder), "/proc/%s/fd", pid);
    d = opendir(folder);
    if (d == NULL) {
        return false;
    }
    for (struct dirent *e = readdir(d); e != NULL && arenas_n < ARENAS_MAX; e = readdir(d)) {
        ssize_t n;

        (void)snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
        n = readlink(path, target, sizeof(target) - 1);
        if (n > 0) {
            target[n] = 0;
            if (strstr(target, "avocado-arena") != NULL && !open_arena(path)) {
                break;
            }
        }
    }
    (void)closedir(d);
    return arenas_n > 0;
}

/* Where there is something to attack. */
static void look(struct arena *a)
{
    off_t at = 0;

    a->extents_n = 0;
    a->pages = 0;
    while (a->extents_n < EXTENTS_MAX) {
        off_t data = lseek(a->fd, at, SEEK_DATA);
        off_t hole = data < 0 ? -1 : lseek(a->fd, data, SEEK_HOLE);
        uint64_t n = hole <= data ? 0 : (uint64_t)(hole - data) / PAGE;

        if (n == 0) {
            break;
        }
        a->extents[a->extents_n].at = (uint64_t)data / PAGE;
        a->extents[a->extents_n++].n = n;
        a->pages += n;
        at = hole;
    }
}

/* The offset of a page in use. False: there is none. */
static bool draw_page(struct prng *p, struct arena *a, uint64_t *ret)
{
    uint64_t i;

    if (a->pages == 0) {
        return false;
    }
    i = prng_below(p, a->pages);
    for (uint32_t e = 0; e < a->extents_n; e++) {
        if (i < a->extents[e].n) {
            *ret = (a->extents[e].at + i) * PAGE;
            return true;
        }
        i -= a->extents[e].n;
    }
    return false;
}

/* Keeps a page as it is now; an older one that was kept goes. */
static void keep(struct prng *p, uint32_t arena, uint64_t at)
{
    struct shadow *s;

    if (shadows_n < SHADOW_PAGES) {
        s = &shadows[shadows_n++];
    } else {
        s = &shadows[prng_below(p, SHADOW_PAGES)];
    }
    s->arena = arena;
    s->at = at;
    memcpy(s->bytes, arenas[arena].p + at, PAGE);
}

static void roll_back(struct prng *p)
{
    if (shadows_n > 0) {
        const struct shadow *s = &shadows[prng_below(p, shadows_n)];

        memcpy(arenas[s->arena].p + s->at, s->bytes, PAGE);
    }
}

static void swap(struct prng *p, uint8_t *x, uint8_t *y)
{
    uint8_t keep_[PAGE];
    size_t from = prng_below(p, PAGE / 8) * 8;
    size_t n = (1 + prng_below(p, (PAGE - from) / 8)) * 8;

    memcpy(keep_, x + from, n);
    memcpy(x + from, y + from, n);
    memcpy(y + from, keep_, n);
}

/* Whoever reads meanwhile sees one or the other, or both. */
static void race(uint8_t *at, uint64_t with)
{
    volatile uint64_t *word = (volatile uint64_t *)(void *)at;

    for (unsigned i = 0; i < 2 * RACE_ROUNDS; i++) {
        *word ^= with;
    }
}

/* A file that is mapped elsewhere: its end is gone, then there again, empty. */
static void cut(struct prng *p, struct arena *a)
{
    uint64_t now = now_ms();
    uint64_t at;

    if (now < a->cut_at_ms || !draw_page(p, a, &at)) {
        return;
    }
    a->cut_at_ms = now + CUT_PAUSE_MS;
    (void)munmap(a->p, a->bytes); /* we would be hit ourselves */
    if (ftruncate(a->fd, (off_t)at) != 0) {
        failed_cuts++;
    } else {
        done[CUT]++;
        (void)usleep(1000);
        (void)!ftruncate(a->fd, (off_t)a->bytes);
    }
    a->p = mmap(NULL, a->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, a->fd, 0);
    if (a->p == MAP_FAILED) {
        perror("tamper: mmap");
        exit(1);
    }
    look(a);
}

static void strike(struct prng *p, enum act act)
{
    uint32_t number = (uint32_t)prng_below(p, arenas_n);
    struct arena *a = &arenas[number];
    uint64_t at;
    uint64_t other;
    size_t word = prng_below(p, PAGE / 8) * 8;

    if (act == CUT) {
        cut(p, a);
        return;
    }
    if (!draw_page(p, a, &at) || !draw_page(p, a, &other)) {
        return;
    }
    switch (act) {
    case FLIP:
        a->p[at + prng_below(p, PAGE)] ^= (uint8_t)(1U << prng_below(p, 8));
        break;
    case SWAP:
        swap(p, a->p + at, a->p + other);
        break;
    case ROLLBACK:
        keep(p, number, at);
        roll_back(p);
        break;
    case ERASE:
        memset(a->p + at + word, 0, prng_below(p, PAGE - word));
        break;
    case RACE:
        race(a->p + at + word, prng_u64(p) | 1);
        break;
    case CUT:
    case ACTS:
        break;
    }
    done[act]++;
}

static void run(struct prng *p, const bool wanted[ACTS], uint64_t until_ms)
{
    while (stopped == 0 && now_ms() < until_ms) {
        for (uint32_t i = 0; i < arenas_n; i++) {
            look(&arenas[i]);
        }
        for (uint32_t i = 0; i < STRIKES; i++) {
            enum act act = (enum act)prng_below(p, ACTS);

            if (wanted[act]) {
                strike(p, act);
            }
        }
    }
}

static bool parse_acts(int argc, char **argv, bool wanted[ACTS])
{
    for (int i = 3; i < argc; i++) {
        int act = 0;

        while (act < ACTS && strcmp(argv[i], names[act]) != 0) {
            act++;
        }
        if (act == ACTS) {
            return false;
        }
        wanted[act] = true;
    }
    for (int act = 0; argc <= 3 && act < ACTS; act++) {
        wanted[act] = true;
    }
    return true;
}

int main(int argc, char **argv)
{
    const struct sigaction on = {.sa_handler = on_stop};
    bool wanted[ACTS] = {false};
    struct prng p = {(uint64_t)getpid()};
    uint64_t bytes = 0;

    if (argc < 3 || !parse_acts(argc, argv, wanted)) {
        (void)fprintf(stderr, "usage: tamper PID SECONDS [flip|swap|rollback|erase|race|cut]...\n");
        return 2;
    }
    shadows = calloc(SHADOW_PAGES, sizeof(*shadows));
    if (shadows == NULL || !open_arenas(argv[1])) {
        (void)fprintf(stderr, "tamper: no arena of process %s: %s\n", argv[1], strerror(errno));
        return 1;
    }
    (void)sigaction(SIGTERM, &on, NULL);
    run(&p, wanted, now_ms() + (uint64_t)(strtod(argv[2], NULL) * 1000));
    for (uint32_t i = 0; i < arenas_n; i++) {
        look(&arenas[i]);
        bytes += arenas[i].pages * PAGE;
    }
    (void)printf("{\"arenas\": %" PRIu32 ", \"bytes\": %" PRIu64, arenas_n, bytes);
    for (int act = 0; act < ACTS; act++) {
        (void)printf(", \"%s\": %" PRIu64, names[act], done[act]);
    }
    (void)printf(", \"cut_refused\": %" PRIu64 "}\n", failed_cuts);
    free(shadows);
    return 0;
}
