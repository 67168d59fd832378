/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "protocol/channel.h"

struct ends {
    struct channel channel;
    int theirs;
    unsigned frames;
};

static void start(struct ends *ends)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    ends->theirs = pair[1];
    ends->frames = 0;
    channel_init(&ends->channel);
    assert_null(channel_open(&ends->channel, pair[0]));
}

static struct error *count(void *context, const struct wire_frame *frame)
{
    struct ends *ends = context;

    ends->frames += frame->kind == WIRE_DONE;
    return NULL;
}

static void say_done(const struct ends *ends)
{
    unsigned char frame[WIRE_HEADER_SIZE];

    wire_encode_header(frame, WIRE_DONE, 0);
    assert_int_equal(write(ends->theirs, frame, sizeof(frame)), sizeof(frame));
}

/* It closes its end with something of ours unread: a reset, which the kernel tells of before what it had sent. */
static void test_reset(void **state)
{
    struct ends ends;

    (void)state;
    start(&ends);
    assert_null(channel_send(&ends.channel, WIRE_GO, NULL, 0));
    assert_null(channel_pump(&ends.channel, count, &ends));
    say_done(&ends);
    close(ends.theirs);
    assert_null(channel_pump(&ends.channel, count, &ends));
    assert_int_equal(ends.frames, 1);
    assert_true(ends.channel.ended);
    channel_deinit(&ends.channel);
}

/* Deaf, it gives what was sent before, and the other end can say no more. */
static void test_deaf(void **state)
{
    unsigned char frame[WIRE_HEADER_SIZE];
    struct ends ends;

    (void)state;
    start(&ends);
    say_done(&ends);
    channel_deafen(&ends.channel);
    wire_encode_header(frame, WIRE_STARTED, 0);
    assert_int_equal(send(ends.theirs, frame, sizeof(frame), MSG_NOSIGNAL), -1);
    assert_null(channel_pump(&ends.channel, count, &ends));
    assert_int_equal(ends.frames, 1);
    assert_true(ends.channel.ended);
    assert_false(channel_await_hangup(&ends.channel, 0));
    close(ends.theirs);
    assert_true(channel_await_hangup(&ends.channel, 0));
    channel_deinit(&ends.channel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_deaf),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
