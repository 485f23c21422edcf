// SPDX-License-Identifier: Apache-2.0
/* OpenSSL over whoever moves the bytes: a BIO that blocks until the deadline of the call. */
#include "trusted/https/https_via.h"

struct via {
    const struct https_via *to;
    uint64_t until_ms;
};

static int bio_read(BIO *bio, char *to, int room)
{
    const struct via *v = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    return (int)v->to->read(v->to->ctx, to, (size_t)room, v->until_ms);
}

static int bio_write(BIO *bio, const char *from, int n)
{
    const struct via *v = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    return v->to->write(v->to->ctx, (struct bytes){(const uint8_t *)from, (size_t)n}) ? n : -1;
}

static long bio_ctrl(BIO *bio, int what, long n, void *p)
{
    (void)bio;
    (void)n;
    (void)p;
    return what == BIO_CTRL_FLUSH;
}

static int bio_destroy(BIO *bio)
{
    OPENSSL_free(BIO_get_data(bio));
    return 1;
}

static BIO_METHOD *method(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "avocado via");

    if (m != NULL &&
        (BIO_meth_set_read(m, bio_read) != 1 || BIO_meth_set_write(m, bio_write) != 1 ||
         BIO_meth_set_ctrl(m, bio_ctrl) != 1 || BIO_meth_set_destroy(m, bio_destroy) != 1)) {
        BIO_meth_free(m);
        m = NULL;
    }
    return m;
}

BIO *https_via_bio(const struct https_via *to, uint64_t until_ms, BIO_METHOD **ret_method)
{
    struct via *v = OPENSSL_zalloc(sizeof(*v));
    BIO *bio = NULL;

    *ret_method = method();
    bio = v == NULL || *ret_method == NULL ? NULL : BIO_new(*ret_method);
    if (bio == NULL) {
        OPENSSL_free(v);
        return NULL;
    }
    *v = (struct via){to, until_ms};
    BIO_set_data(bio, v);
    BIO_set_init(bio, 1);
    return bio;
}
