// SPDX-License-Identifier: Apache-2.0
/* Frames of an arbitrary sender, one after the other, to a link: u16 length, frame. Whatever is
 * taken lies within its frame, and what is taken once is taken again when it is built anew. */
#include "common/check.h"
#include "host/frame/link.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void build_again(const struct frame *f, struct bytes b)
{
    static uint8_t copy[FRAME_HEAD_MAX + UINT16_MAX];
    const struct frame_path path = {
        .from_mac = f->from_mac, .to_mac = f->to_mac, .from = f->from, .to = f->to};
    struct bytes payload = {b.p + f->off, f->len};
    uint8_t head[FRAME_HEAD_MAX];
    struct frame again;
    uint32_t n;

    if (f->len > LINK_MTU_MAX) {
        return;
    }
    n = frame_udp(&path, payload, 0, head);
    memcpy(copy, head, n);
    memcpy(copy + n, payload.p, payload.n);
    frame_parse((struct bytes){copy, n + payload.n}, 0, &again);
    CHECK(again.kind == FRAME_UDP && again.off == n && again.len == f->len);
    CHECK(frame_ip_equal(&again.from, &f->from) && frame_ip_equal(&again.to, &f->to));
    CHECK(again.from.port == f->from.port && again.to.port == f->to.port);
}

static void one_frame(struct link *l, struct bytes b, uint64_t now)
{
    struct link_arrival in = {.answer_len = 0};
    struct link_departure d;
    struct frame f;

    for (unsigned done = 0; done < 4; done++) {
        frame_parse(b, done, &f);
        CHECK(f.kind >= FRAME_UDP && f.kind <= FRAME_BAD && f.why < FRAME_BAD_N);
        if (f.kind == FRAME_UDP) {
            CHECK(f.off <= b.n && f.len <= b.n - f.off);
            build_again(&f, b);
        }
    }
    switch (link_in(l, b, 0, now, &in)) {
    case LINK_DATAGRAM:
        CHECK(in.off <= b.n && in.len <= b.n - in.off && in.port < l->c.ports_n);
        link_out(l, &(struct link_datagram){in.port, 0, &in.from, {b.p + in.off, in.len}}, now, &d);
        CHECK(d.head_len <= sizeof(d.head) && d.question_len <= sizeof(d.question));
        break;
    case LINK_ANSWER:
        CHECK(in.answer_len <= sizeof(in.answer));
        frame_parse((struct bytes){in.answer, in.answer_len}, 0, &f);
        CHECK(f.kind == FRAME_TELLS && frame_mac_equal(&f.mac, &l->c.mac));
        break;
    case LINK_NOTHING:
    case LINK_OTHERS:
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct link l;
    const struct link_config c = {
        .mac = {{2, 0, 0, 0, 0, 0xbb}},
        .mtu = 1500,
        .own = {{{.family = 4, .ip = {10, 9, 0, 2}}, 24},
                {{.family = 6, .ip = {0xfd, 0x0a, [15] = 2}}, 64}},
        .own_n = 2,
        .gateway4 = {.family = 4, .ip = {10, 9, 0, 1}},
        .port = 7000,
        .ports_n = 2,
    };
    uint64_t now = 1;

    link_init(&l, &c);
    while (size >= 2) {
        size_t n = data[0] | (size_t)data[1] << 8;

        data += 2;
        size -= 2;
        n = n < size ? n : size;
        one_frame(&l, (struct bytes){data, n}, now);
        data += n;
        size -= n;
        now += NEIGHBOURS_ASK_NS;
    }
    return 0;
}
