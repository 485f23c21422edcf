// SPDX-License-Identifier: Apache-2.0
/* The CAS's state against a host that kills, changes, exchanges and rolls back. CAS-20 to CAS-23 */
#include "trusted/cas/cas_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct place {
    char dir[64], path[96], anchor[96];
    struct secret key;
};

static void place_make(struct place *p)
{
    *p = (struct place){0};
    memset(p->key.b, 9, sizeof(p->key.b));
    (void)snprintf(p->dir, sizeof(p->dir), "/tmp/avocado-store-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    (void)snprintf(p->path, sizeof(p->path), "%s/cas.db", p->dir);
    (void)snprintf(p->anchor, sizeof(p->anchor), "%s/anchor", p->dir);
}

static void place_remove(const struct place *p)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "rm -rf '%s'", p->dir);
    /* A name of our own. NOLINTNEXTLINE(cert-env33-c) */
    assert_int_equal(WEXITSTATUS(system(path)), 0);
}

static enum err open_at(const struct place *p, bool create, struct cas_store **ret,
                        struct explain *why)
{
    const struct cas_store_options o = {p->path, p->anchor, &p->key, create};

    return cas_store_open(&o, ret, why);
}

static struct cas_row row(const char *id, const char *value)
{
    struct cas_row r = {.table = "t", .value = {(const uint8_t *)value, strlen(value)}};

    (void)snprintf(r.id, sizeof(r.id), "%s", id);
    return r;
}

static void put(struct cas_store *s, const char *id, const char *value)
{
    struct cas_row r = row(id, value);
    struct explain why = {0};

    if (cas_store_commit(s, &r, 1, &why) != OK) {
        fail_msg("%s", why.text);
    }
}

struct seen {
    char text[4096];
};

static enum err see(void *ctx, const struct cas_row *r)
{
    struct seen *s = ctx;
    size_t n = strlen(s->text);

    (void)snprintf(s->text + n, sizeof(s->text) - n, "%s=%.*s ", r->id, (int)r->value.n,
                   (const char *)r->value.p);
    return OK;
}

static void expect_rows(const struct place *p, const char *wanted)
{
    struct cas_store *s = NULL;
    struct explain why = {0};
    struct seen seen = {0};

    if (open_at(p, false, &s, &why) != OK) {
        fail_msg("%s", why.text);
    }
    assert_int_equal(cas_store_read(s, see, &seen, &why), OK);
    assert_string_equal(seen.text, wanted);
    cas_store_close(s);
}

static void expect_refused(const struct place *p, enum err err, const char *part)
{
    struct cas_store *s = NULL;
    struct explain why = {0};
    enum err got = open_at(p, false, &s, &why);

    if (got != err || strstr(why.text, part) == NULL) {
        fail_msg("expected %s with '%s', got %s: %s", err_name(err), part, err_name(got), why.text);
    }
}

static void copy_file(const char *from, const char *to)
{
    char command[256];

    (void)snprintf(command, sizeof(command), "cp '%s' '%s'", from, to);
    /* Names of our own. NOLINTNEXTLINE(cert-env33-c) */
    assert_int_equal(WEXITSTATUS(system(command)), 0);
}

/* What a host with the file can do. */
static void sql(const struct place *p, const char *text)
{
    sqlite3 *db = NULL;

    assert_int_equal(sqlite3_open(p->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void make_two(struct place *p)
{
    struct cas_store *s = NULL;
    struct explain why = {0};

    place_make(p);
    assert_int_equal(open_at(p, true, &s, &why), OK);
    put(s, "a", "one");
    put(s, "b", "two");
    put(s, "a", "three");
    assert_int_equal(cas_store_version(s), 3);
    cas_store_close(s);
}

static void test_keeps(void **state)
{
    struct place p;
    struct cas_store *s = NULL;
    struct explain why = {0};
    struct cas_row gone = {.table = "t", .id = "b"};

    (void)state;
    make_two(&p);
    expect_rows(&p, "a=three b=two ");
    assert_int_equal(open_at(&p, false, &s, &why), OK);
    assert_int_equal(cas_store_commit(s, &gone, 1, &why), OK);
    cas_store_close(s);
    expect_rows(&p, "a=three ");
    assert_int_equal(open_at(&p, true, &s, &why), ERR_USAGE);
    assert_non_null(strstr(why.text, "never founds a second cluster"));
    place_remove(&p);
}

static void test_foreign(void **state)
{
    struct place p;

    (void)state;
    make_two(&p);
    p.key.b[0] ^= 1;
    expect_refused(&p, ERR_AUTH, "state of another CAS, or sealed under another key");
    place_remove(&p);
}

static void test_rolled_back(void **state)
{
    struct place p;
    struct cas_store *s = NULL;
    struct explain why = {0};
    char old[128];

    (void)state;
    make_two(&p);
    (void)snprintf(old, sizeof(old), "%s/old", p.dir);
    copy_file(p.path, old);
    assert_int_equal(open_at(&p, false, &s, &why), OK);
    put(s, "c", "acknowledged");
    cas_store_close(s);
    copy_file(old, p.path);
    expect_refused(&p, ERR_REPLAY, "rolled back: it is of state version 3, version 4");
    assert_int_equal(unlink(p.anchor), 0);
    expect_refused(&p, ERR_IO, "anchor");
    place_remove(&p);
}

static void test_rows_exchanged_and_taken(void **state)
{
    static const struct {
        const char *sql, *part;
    } attacks[] = {
        {"UPDATE row SET sealed = (SELECT sealed FROM row WHERE id = 'b') WHERE id = 'a'",
         "row t/a was changed, or belongs elsewhere"},
        {"UPDATE row SET id = 'x' WHERE id = 'a'", "row t/x was changed"},
        {"UPDATE row SET version = 1 WHERE id = 'a'", "row t/a was changed"},
        {"DELETE FROM row WHERE id = 'a'", "rows were taken away or replaced by older ones"},
        {"DELETE FROM row WHERE tbl = 'head'", "no state of a CAS, or was cut off"},
        {"UPDATE row SET sealed = x'00' WHERE id = 'b'", "row t/b was changed"},
        {"UPDATE row SET version = 2 WHERE tbl = 'head'", "sealed under another key"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(attacks) / sizeof(attacks[0]); i++) {
        struct place p;

        make_two(&p);
        sql(&p, attacks[i].sql);
        expect_refused(&p, ERR_AUTH, attacks[i].part);
        place_remove(&p);
    }
}

/* An old row, as it once was, version and all. */
static void test_one_old_row(void **state)
{
    struct place p;
    struct cas_store *s = NULL;
    struct explain why = {0};
    char old[128], text[256];

    (void)state;
    place_make(&p);
    (void)snprintf(old, sizeof(old), "%s/old", p.dir);
    assert_int_equal(open_at(&p, true, &s, &why), OK);
    put(s, "a", "revoked: nobody");
    cas_store_close(s);
    copy_file(p.path, old);
    assert_int_equal(open_at(&p, false, &s, &why), OK);
    put(s, "a", "revoked: mallory");
    cas_store_close(s);
    (void)snprintf(text, sizeof(text),
                   "ATTACH '%s' AS o; UPDATE row SET (version, sealed) = "
                   "(SELECT version, sealed FROM o.row r WHERE r.id = 'a') WHERE id = 'a'",
                   old);
    sql(&p, text);
    expect_refused(&p, ERR_AUTH, "replaced by older ones");
    place_remove(&p);
}

/* ---- a process that dies in the middle of any of its writes ---- */

static int calls_left;
static sqlite3_io_methods methods;
static const sqlite3_io_methods *real;

static void step(void)
{
    if (calls_left-- == 0) {
        _exit(77);
    }
}

static int die_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
    if (calls_left == 0 && n > 1) {
        (void)real->xWrite(f, p, n / 2, at); /* half of it reached the disk */
    }
    step();
    return real->xWrite(f, p, n, at);
}

static int die_truncate(sqlite3_file *f, sqlite3_int64 n)
{
    step();
    return real->xTruncate(f, n);
}

static int die_sync(sqlite3_file *f, int flags)
{
    step();
    return real->xSync(f, flags);
}

static sqlite3_vfs mortal;
static sqlite3_vfs *healthy;

static int mortal_open(sqlite3_vfs *v, sqlite3_filename name, sqlite3_file *f, int flags, int *ret)
{
    int code = healthy->xOpen(healthy, name, f, flags, ret);

    (void)v;
    if (code == SQLITE_OK && f->pMethods != NULL) {
        real = f->pMethods;
        methods = *real;
        methods.xWrite = die_write;
        methods.xTruncate = die_truncate;
        methods.xSync = die_sync;
        f->pMethods = &methods;
    }
    return code;
}

static int mortal_delete(sqlite3_vfs *v, const char *name, int sync)
{
    (void)v;
    step();
    return healthy->xDelete(healthy, name, sync);
}

/* Commits row after row and says through the pipe which are acknowledged. */
static void write_until_death(const struct place *p, int calls, int pipe)
{
    struct cas_store *s = NULL;
    struct explain why = {0};
    char id[16], value[16];

    healthy = sqlite3_vfs_find(NULL);
    mortal = *healthy;
    mortal.zName = "mortal";
    mortal.xOpen = mortal_open;
    mortal.xDelete = mortal_delete;
    (void)sqlite3_vfs_register(&mortal, 1);
    calls_left = calls;
    if (open_at(p, false, &s, &why) != OK) {
        _exit(1);
    }
    for (int i = 0; i < 4; i++) {
        struct cas_row rows[2];

        (void)snprintf(id, sizeof(id), "k%d", i);
        (void)snprintf(value, sizeof(value), "v%d", i);
        rows[0] = row(id, value);
        rows[1] = row("last", value);
        if (cas_store_commit(s, rows, 2, &why) != OK || write(pipe, &i, sizeof(i)) != sizeof(i)) {
            _exit(1);
        }
    }
    _exit(0);
}

struct found {
    int highest, last;
    int n;
};

static enum err count(void *ctx, const struct cas_row *r)
{
    struct found *f = ctx;

    if (r->id[0] == 'k') {
        int nth = (int)strtol(r->id + 1, NULL, 10);

        f->n++;
        f->highest = nth > f->highest ? nth : f->highest;
    } else if (r->value.n == 2) {
        f->last = r->value.p[1] - '0';
    }
    return OK;
}

static void test_killed_at_every_write(void **state)
{
    int survived = 0, calls = 0;

    (void)state;
    for (calls = 0; survived == 0 && calls < 400; calls++) {
        struct place p;
        struct cas_store *s = NULL;
        struct explain why = {0};
        struct found f = {.highest = -1, .last = -1};
        int pipes[2], acknowledged = -1, i = 0, status = 0;
        pid_t pid;

        place_make(&p);
        assert_int_equal(open_at(&p, true, &s, &why), OK);
        put(s, "start", "there");
        cas_store_close(s);
        assert_int_equal(pipe(pipes), 0);
        pid = fork();
        if (pid == 0) {
            write_until_death(&p, calls, pipes[1]);
        }
        (void)close(pipes[1]);
        while (read(pipes[0], &i, sizeof(i)) == sizeof(i)) {
            acknowledged = i;
        }
        (void)close(pipes[0]);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status) && (WEXITSTATUS(status) == 77 || WEXITSTATUS(status) == 0));
        survived = WEXITSTATUS(status) == 0;
        if (open_at(&p, false, &s, &why) != OK) {
            fail_msg("killed at call %d: %s", calls, why.text);
        }
        assert_int_equal(cas_store_read(s, count, &f, &why), OK);
        cas_store_close(s);
        /* All that was acknowledged, at most one commit more, and each of them whole. */
        assert_in_range(f.highest + 1, acknowledged + 1, acknowledged + 2);
        assert_int_equal(f.n, f.highest + 1);
        assert_int_equal(f.last, f.highest);
        place_remove(&p);
    }
    assert_int_equal(survived, 1);
    assert_in_range(calls, 20, 400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keeps),       cmocka_unit_test(test_foreign),
        cmocka_unit_test(test_rolled_back), cmocka_unit_test(test_rows_exchanged_and_taken),
        cmocka_unit_test(test_one_old_row), cmocka_unit_test(test_killed_at_every_write),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
