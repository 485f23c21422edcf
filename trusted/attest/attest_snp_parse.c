// SPDX-License-Identifier: Apache-2.0
#include "trusted/attest/attest_snp.h"

#include "common/codec.h"

enum {
    HALF_LEN = 72, /* r or s, little-endian with zeros above */
    P384_LEN = 48,
    SIGNATURE_REST = 512 - 2 * HALF_LEN,
};

static const char *const products[ATTEST_PRODUCTS_N] = {
    [ATTEST_MILAN] = "Milan",
    [ATTEST_GENOA] = "Genoa",
    [ATTEST_TURIN] = "Turin",
};

const char *attest_product_name(enum attest_product product)
{
    return (unsigned)product < ATTEST_PRODUCTS_N ? products[product] : NULL;
}

static enum attest_product product_of(uint8_t family, uint8_t model)
{
    if (family == 0x19) {
        if (model <= 0x0f) {
            return ATTEST_MILAN;
        }
        return model <= 0x1f || (model >= 0xa0 && model <= 0xaf) ? ATTEST_GENOA
                                                                 : ATTEST_PRODUCT_UNKNOWN;
    }
    return family == 0x1a && model <= 0x11 ? ATTEST_TURIN : ATTEST_PRODUCT_UNKNOWN;
}

static bool all_zero(struct bytes b)
{
    uint8_t any = 0;

    for (size_t i = 0; i < b.n; i++) {
        any |= b.p[i];
    }
    return any == 0;
}

/* A number of 72 little-endian bytes as 48 big-endian ones. */
static bool read_half(struct reader *r, uint8_t to[static P384_LEN])
{
    struct bytes half = get_bytes(r, HALF_LEN);

    if (half.n != HALF_LEN || !all_zero((struct bytes){half.p + P384_LEN, HALF_LEN - P384_LEN})) {
        return false;
    }
    for (unsigned i = 0; i < P384_LEN; i++) {
        to[i] = half.p[P384_LEN - 1 - i];
    }
    return true;
}

static void read_front(struct reader *r, struct attest_snp *s)
{
    s->version = get_u32(r);
    s->guest_svn = get_u32(r);
    s->policy = get_u64(r);
    s->family_id = get_bytes(r, 16);
    s->image_id = get_bytes(r, 16);
    s->vmpl = get_u32(r);
    s->signature_algo = get_u32(r);
    s->current_tcb = get_bytes(r, 8);
    s->platform_info = get_u64(r);
    s->flags = get_u32(r);
    (void)get_u32(r);
    s->report_data = get_bytes(r, 64);
    s->measurement = get_bytes(r, 48);
    s->host_data = get_bytes(r, 32);
    s->id_key_digest = get_bytes(r, 48);
    s->author_key_digest = get_bytes(r, 48);
    s->report_id = get_bytes(r, 32);
    s->report_id_ma = get_bytes(r, 32);
    s->reported_tcb = get_bytes(r, 8);
}

static void read_back(struct reader *r, struct attest_snp *s)
{
    s->family = get_u8(r);
    s->model = get_u8(r);
    s->stepping = get_u8(r);
    (void)get_bytes(r, 21);
    s->chip_id = get_bytes(r, 64);
    s->committed_tcb = get_bytes(r, 8);
    s->current_build = get_u8(r);
    s->current_minor = get_u8(r);
    s->current_major = get_u8(r);
    (void)get_u8(r);
    s->committed_build = get_u8(r);
    s->committed_minor = get_u8(r);
    s->committed_major = get_u8(r);
    (void)get_u8(r);
    s->launch_tcb = get_bytes(r, 8);
    (void)get_bytes(r, 0xa8); /* mitigation vectors of version 5, then reserved */
    s->has_cpuid = s->version >= 3;
    s->product = s->has_cpuid ? product_of(s->family, s->model) : ATTEST_PRODUCT_UNKNOWN;
}

RESULT attest_snp_parse(struct bytes evidence, struct attest_snp *ret, struct explain *why)
{
    struct reader r = {.rest = evidence};
    struct attest_snp s = {0};

    if (evidence.n != ATTEST_SNP_LEN) {
        explain(why, "%zu bytes; a report has %d", evidence.n, ATTEST_SNP_LEN);
        return ERR_MALFORMED;
    }
    read_front(&r, &s);
    read_back(&r, &s);
    s.signed_part = (struct bytes){evidence.p, ATTEST_SNP_SIGNED_LEN};
    if (s.version < 2 || s.version > 5) {
        explain(why, "report version %u; known are 2 to 5", s.version);
        return ERR_MALFORMED;
    }
    if (s.signature_algo != 1) {
        explain(why, "signature algorithm %u; known is 1 (ECDSA P-384)", s.signature_algo);
        return ERR_MALFORMED;
    }
    if (!read_half(&r, s.signature) || !read_half(&r, s.signature + P384_LEN) ||
        !all_zero(get_bytes(&r, SIGNATURE_REST)) || !reader_done(&r)) {
        explain(why, "the signature is not two numbers of 48 bytes and zeros");
        return ERR_MALFORMED;
    }
    *ret = s;
    return OK;
}

struct attest_snp_tcb attest_snp_tcb_read(struct bytes tcb, enum attest_product product)
{
    const uint8_t *b = tcb.p;

    if (product == ATTEST_TURIN) {
        return (struct attest_snp_tcb){
            .fmc = b[0], .bootloader = b[1], .tee = b[2], .snp = b[3], .microcode = b[7]};
    }
    return (struct attest_snp_tcb){.bootloader = b[0], .tee = b[1], .snp = b[6], .microcode = b[7]};
}
