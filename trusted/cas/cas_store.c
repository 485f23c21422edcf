// SPDX-License-Identifier: Apache-2.0
#include "trusted/cas/cas_store_internal.h"

#include "trusted/config/explain.h"
#include "trusted/crypto/entropy.h"
#include "trusted/crypto/kdf.h"

#include "common/codec.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUSY_MS = 5000, ANCHOR_LEN = 8 + SHA256_LEN, HEAD_LEN = 8 + SHA256_LEN };

static const char head_table[] = "head";

static enum err sql_error(const struct cas_store *s, const char *what, struct explain *why)
{
    explain(why, "%s: %s: %s", s->path, what, sqlite3_errmsg(s->db));
    return ERR_IO;
}

/* ---- rows ---- */

/* What a sealed row is bound to, CAS-21. */
static size_t associated(const struct cas_row *row, uint64_t version, struct mbytes to)
{
    struct writer w = {.to = to};
    size_t n = 0;

    put_u8(&w, (uint8_t)strlen(row->table));
    put_bytes(&w, (struct bytes){(const uint8_t *)row->table, strlen(row->table)});
    put_u8(&w, (uint8_t)strlen(row->id));
    put_bytes(&w, (struct bytes){(const uint8_t *)row->id, strlen(row->id)});
    put_u64(&w, version);
    return writer_done(&w, &n) ? n : 0;
}

/* The mark of a row in the digest of the whole: XOR of these over all rows, CAS-22. Keyed, so that
 * nobody else can choose rows whose marks cancel out. */
static void mark(const struct cas_store *s, const struct cas_row *row, uint64_t version,
                 uint8_t digest[static SHA256_LEN])
{
    uint8_t ad[128], one[SHA256_LEN];
    struct bytes part = {ad, associated(row, version, (struct mbytes){ad, sizeof(ad)})};

    hmac_sha256((struct bytes){s->mark_key.b, sizeof(s->mark_key.b)}, &part, 1, one);
    for (size_t i = 0; i < SHA256_LEN; i++) {
        digest[i] ^= one[i];
    }
}

/* nonce || ciphertext || tag, a heap block. */
static uint8_t *seal(const struct cas_store *s, const struct cas_row *row, uint64_t version,
                     size_t *ret_n)
{
    size_t n = AEAD_IV_LEN + row->value.n + AEAD_TAG_LEN;
    uint8_t *p = malloc(n), ad[128];

    if (p != NULL) {
        entropy_fill(p, AEAD_IV_LEN);
        aead_seal(s->aead, &s->key, p,
                  (struct bytes){ad, associated(row, version, (struct mbytes){ad, sizeof(ad)})},
                  row->value, p + AEAD_IV_LEN);
        *ret_n = n;
    }
    return p;
}

/* A heap block; NULL: not sealed by us for this place and version. */
static uint8_t *open_row(const struct cas_store *s, const struct cas_row *row, uint64_t version,
                         size_t *ret_n)
{
    struct bytes sealed = row->value;
    uint8_t ad[128], *p = NULL;
    size_t overhead = AEAD_IV_LEN + AEAD_TAG_LEN;

    if (sealed.n < overhead || sealed.n > CAS_VALUE_MAX + overhead) {
        return NULL;
    }
    p = malloc(sealed.n - overhead + 1);
    if (p == NULL ||
        aead_open(s->aead, &s->key, sealed.p,
                  (struct bytes){ad, associated(row, version, (struct mbytes){ad, sizeof(ad)})},
                  (struct bytes){sealed.p + AEAD_IV_LEN, sealed.n - AEAD_IV_LEN}, p) != OK) {
        free(p);
        return NULL;
    }
    *ret_n = sealed.n - overhead;
    p[*ret_n] = '\0';
    return p;
}

static bool run(const struct cas_store *s, const char *sql)
{
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK;
}

/* ---- commit ---- */

static bool put_row(const struct cas_store *s, const struct cas_row *row, uint64_t version)
{
    size_t n = 0;
    uint8_t *sealed = seal(s, row, version, &n);
    bool good = sealed != NULL && sqlite3_reset(s->put) == SQLITE_OK &&
                sqlite3_bind_text(s->put, 1, row->table, -1, SQLITE_STATIC) == SQLITE_OK &&
                sqlite3_bind_text(s->put, 2, row->id, -1, SQLITE_STATIC) == SQLITE_OK &&
                sqlite3_bind_int64(s->put, 3, (sqlite3_int64)version) == SQLITE_OK &&
                sqlite3_bind_blob(s->put, 4, sealed, (int)n, SQLITE_STATIC) == SQLITE_OK &&
                sqlite3_step(s->put) == SQLITE_DONE;

    (void)sqlite3_reset(s->put);
    (void)sqlite3_clear_bindings(s->put);
    free(sealed);
    return good;
}

static bool remove_row(const struct cas_store *s, const struct cas_row *row)
{
    bool good = sqlite3_bind_text(s->remove, 1, row->table, -1, SQLITE_STATIC) == SQLITE_OK &&
                sqlite3_bind_text(s->remove, 2, row->id, -1, SQLITE_STATIC) == SQLITE_OK &&
                sqlite3_step(s->remove) == SQLITE_DONE;

    (void)sqlite3_reset(s->remove);
    return good;
}

/* The version under which a row is there now; 0: it is not. */
static bool version_of(const struct cas_store *s, const struct cas_row *row, uint64_t *ret)
{
    int code;
    bool good = sqlite3_bind_text(s->find, 1, row->table, -1, SQLITE_STATIC) == SQLITE_OK &&
                sqlite3_bind_text(s->find, 2, row->id, -1, SQLITE_STATIC) == SQLITE_OK;

    *ret = 0;
    code = good ? sqlite3_step(s->find) : SQLITE_ERROR;
    if (code == SQLITE_ROW) {
        *ret = (uint64_t)sqlite3_column_int64(s->find, 0);
    }
    (void)sqlite3_reset(s->find);
    return code == SQLITE_ROW || code == SQLITE_DONE;
}

static bool apply(const struct cas_store *s, const struct cas_row *row, uint64_t version,
                  uint8_t digest[static SHA256_LEN])
{
    uint64_t before = 0;

    if (!version_of(s, row, &before)) {
        return false;
    }
    if (before != 0) {
        mark(s, row, before, digest);
    }
    if (row->value.n == 0) {
        return remove_row(s, row);
    }
    mark(s, row, version, digest);
    return put_row(s, row, version);
}

static bool put_head(const struct cas_store *s, uint64_t version,
                     const uint8_t digest[static SHA256_LEN])
{
    uint8_t value[HEAD_LEN];
    struct writer w = {.to = {value, sizeof(value)}};
    struct cas_row head = {.value = {value, sizeof(value)}};

    put_u64(&w, version);
    put_bytes(&w, (struct bytes){digest, SHA256_LEN});
    (void)snprintf(head.table, sizeof(head.table), "%s", head_table);
    return !w.failed && put_row(s, &head, version);
}

RESULT cas_store_commit(struct cas_store *s, const struct cas_row *rows, size_t n,
                        struct explain *why)
{
    uint64_t version = s->version + 1;
    uint8_t digest[SHA256_LEN];
    bool good = !s->broken && run(s, "BEGIN IMMEDIATE");

    memcpy(digest, s->digest, sizeof(digest));
    for (size_t i = 0; good && i < n; i++) {
        good = rows[i].value.n <= CAS_VALUE_MAX && apply(s, &rows[i], version, digest);
    }
    good = good && put_head(s, version, digest) && run(s, "COMMIT");
    if (!good) {
        enum err err = sql_error(s, "the state cannot be written", why);

        (void)run(s, "ROLLBACK");
        s->broken = true; /* whether COMMIT took place is known only to who opens it anew */
        return err;
    }
    s->version = version;
    memcpy(s->digest, digest, sizeof(digest));
    return cas_anchor_write(s, version, why);
}

/* ---- reading ---- */

struct check {
    struct cas_store *s;
    cas_store_each each; /* NULL: only check */
    void *ctx;
    uint8_t digest[SHA256_LEN];
    struct bytes head; /* of the heap */
    uint64_t head_version;
};

static bool copy_text(sqlite3_stmt *q, int column, char *to, size_t room)
{
    const char *text = (const char *)sqlite3_column_text(q, column);
    size_t n = text == NULL ? room : strlen(text);

    if (n >= room || (int)n != sqlite3_column_bytes(q, column)) {
        return false;
    }
    memcpy(to, text, n + 1);
    return true;
}

static enum err check_row(struct check *c, sqlite3_stmt *q, struct explain *why)
{
    struct cas_row row = {0};
    uint64_t version = (uint64_t)sqlite3_column_int64(q, 2);
    uint8_t *value = NULL;
    size_t n = 0;
    enum err err = OK;

    if (!copy_text(q, 0, row.table, sizeof(row.table)) ||
        !copy_text(q, 1, row.id, sizeof(row.id))) {
        explain(why, "%s: a row has no good name; the file was tampered with", c->s->path);
        return ERR_AUTH;
    }
    row.value = (struct bytes){sqlite3_column_blob(q, 3), (size_t)sqlite3_column_bytes(q, 3)};
    value = open_row(c->s, &row, version, &n);
    if (value == NULL) {
        bool is_head = strcmp(row.table, head_table) == 0;

        explain(why,
                is_head ? "%s is the state of another CAS, or sealed under another key (%s%s); "
                          "give the right --state and --seal-key"
                        : "%s: row %s/%s was changed, or belongs elsewhere; restore a copy of "
                          "the file",
                c->s->path, row.table, row.id);
        return ERR_AUTH;
    }
    row.value = (struct bytes){value, n};
    if (strcmp(row.table, head_table) == 0) {
        c->head = row.value; /* kept */
        c->head_version = version;
        return OK;
    }
    mark(c->s, &row, version, c->digest);
    if (c->each != NULL) {
        err = c->each(c->ctx, &row);
    }
    wipe(value, n);
    free(value);
    return err;
}

static enum err check_head(struct check *c, struct explain *why)
{
    struct reader r = {.rest = c->head};
    uint64_t version = get_u64(&r);
    struct bytes digest = get_bytes(&r, SHA256_LEN);

    if (c->head.p == NULL || !reader_done(&r) || version != c->head_version) {
        explain(why, "%s is no state of a CAS, or was cut off", c->s->path);
        return ERR_AUTH;
    }
    if (memcmp(digest.p, c->digest, SHA256_LEN) != 0) {
        explain(why,
                "%s: rows were taken away or replaced by older ones; restore a copy of the file",
                c->s->path);
        return ERR_AUTH;
    }
    c->s->version = version;
    memcpy(c->s->digest, c->digest, SHA256_LEN);
    return OK;
}

/* The head sorts in its place; everything is opened, and compared with what the head says. */
static enum err read_all(struct check *c, struct explain *why)
{
    sqlite3_stmt *q = NULL;
    enum err err = OK;
    int code = sqlite3_prepare_v2(c->s->db,
                                  "SELECT tbl, id, version, sealed FROM row "
                                  "ORDER BY tbl <> 'head', tbl, id",
                                  -1, &q, NULL);

    while (code == SQLITE_OK && err == OK) {
        int step = sqlite3_step(q);

        if (step == SQLITE_DONE) {
            break;
        }
        if (step != SQLITE_ROW) {
            code = step;
            break;
        }
        err = check_row(c, q, why);
    }
    if (err == OK && code != SQLITE_OK) {
        err = sql_error(c->s, "cannot be read", why);
    }
    (void)sqlite3_finalize(q);
    if (err == OK) {
        err = check_head(c, why);
    }
    free((void *)(uintptr_t)c->head.p);
    return err;
}

RESULT cas_store_read(struct cas_store *s, cas_store_each each, void *ctx, struct explain *why)
{
    struct check c = {.s = s, .each = each, .ctx = ctx};

    return read_all(&c, why);
}

uint64_t cas_store_version(const struct cas_store *s)
{
    return s->version;
}

/* ---- opening ---- */

static bool prepare(struct cas_store *s)
{
    return sqlite3_prepare_v2(s->db,
                              "INSERT INTO row(tbl, id, version, sealed) VALUES(?, ?, ?, ?) "
                              "ON CONFLICT(tbl, id) DO UPDATE SET version = excluded.version, "
                              "sealed = excluded.sealed",
                              -1, &s->put, NULL) == SQLITE_OK &&
           sqlite3_prepare_v2(s->db, "DELETE FROM row WHERE tbl = ? AND id = ?", -1, &s->remove,
                              NULL) == SQLITE_OK &&
           sqlite3_prepare_v2(s->db, "SELECT version FROM row WHERE tbl = ? AND id = ?", -1,
                              &s->find, NULL) == SQLITE_OK;
}

static enum err open_file(struct cas_store *s, bool create, struct explain *why)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_EXRESCODE | (create ? SQLITE_OPEN_CREATE : 0);
    bool exists = access(s->path, F_OK) == 0;

    if (create && exists) {
        explain(why,
                "%s exists: a CAS never founds a second cluster over its state; start it "
                "without --found",
                s->path);
        return ERR_USAGE;
    }
    if (!create && !exists) {
        explain(why, "%s does not exist; give the right --state, or --found to found a cluster",
                s->path);
        return ERR_USAGE;
    }
    if (sqlite3_open_v2(s->path, &s->db, flags, NULL) != SQLITE_OK ||
        sqlite3_busy_timeout(s->db, BUSY_MS) != SQLITE_OK ||
        !run(s, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = DELETE; "
                "PRAGMA synchronous = EXTRA; PRAGMA trusted_schema = OFF;")) {
        return sql_error(s, "cannot be opened", why);
    }
    if (create && !run(s, "CREATE TABLE row(tbl TEXT NOT NULL, id TEXT NOT NULL, version INTEGER "
                          "NOT NULL, sealed BLOB NOT NULL, PRIMARY KEY(tbl, id)) WITHOUT ROWID")) {
        return sql_error(s, "cannot be made", why);
    }
    if (!prepare(s)) {
        return sql_error(s, "is no state of a CAS", why);
    }
    return OK;
}

static void derive(struct cas_store *s, const struct secret *key)
{
    SECRET_LOCAL row_key;

    kdf_secret(key, "avocado cas row key", &row_key);
    kdf_secret(key, "avocado cas mark key", &s->mark_key);
    aead_key_init(s->aead, &s->key, &row_key);
    s->has_key = true;
}

RESULT cas_store_open(const struct cas_store_options *o, struct cas_store **ret,
                      struct explain *why)
{
    struct cas_store *s = aligned_alloc(64, (sizeof(*s) + 63) / 64 * 64);
    struct check c = {.s = s};
    enum err err = ERR_IO;

    if (s == NULL) {
        explain(why, "out of memory");
        return ERR_IO;
    }
    memset(s, 0, sizeof(*s));
    s->path = strdup(o->path);
    s->anchor = strdup(o->anchor);
    s->aead = aead_open_impl(AEAD_OPENSSL);
    if (s->path == NULL || s->anchor == NULL || s->aead == NULL) {
        explain(why, "out of memory");
    } else {
        derive(s, o->key);
        err = open_file(s, o->create, why);
    }
    if (err == OK && !o->create) {
        err = read_all(&c, why);
        if (err == OK) {
            err = cas_anchor_check(s, why);
        }
    }
    if (err != OK) {
        cas_store_close(s);
        return err;
    }
    *ret = s;
    return OK;
}

void cas_store_close(struct cas_store *s)
{
    if (s == NULL) {
        return;
    }
    (void)sqlite3_finalize(s->put);
    (void)sqlite3_finalize(s->remove);
    (void)sqlite3_finalize(s->find);
    (void)sqlite3_close(s->db);
    if (s->has_key) {
        aead_key_fini(s->aead, &s->key);
    }
    aead_close_impl(s->aead);
    secret_wipe(&s->mark_key);
    free(s->path);
    free(s->anchor);
    free(s);
}
