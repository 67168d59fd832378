/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Our end of the channel to the agent: a non-blocking SOCK_SEQPACKET socket, what waits
 * to be sent, and the decoder of what comes. The caller polls.
 */
#ifndef SAFEPOINT_PROTOCOL_CHANNEL_H
#define SAFEPOINT_PROTOCOL_CHANNEL_H

#include "protocol/wire.h"

struct channel {
    int fd; /* -1: not there yet, or closed */
    bool ended; /* the other end is closed */
    struct wire_decoder decoder;
    unsigned char *queue; /* whole frames to be sent, a packet each */
    size_t queue_size, queue_sent, queue_room;
};

/* Without a socket yet: what is sent waits. */
void channel_init(struct channel *channel);
/* Takes ownership of a connected socket. */
struct error *channel_open(struct channel *channel, int fd) __attribute__((warn_unused_result));
/* From now on nothing comes in but what was sent before (pump it until `ended`), and nothing goes out: an agent
 * that hasn't started the script yet fails to say that it does, and leaves it alone. */
void channel_deafen(struct channel *channel);
/* Of a deaf channel: waits until the other end is closed, or for that time; was it? */
bool channel_await_hangup(const struct channel *channel, int timeout_ms);

/* Closes our end; an agent that looks finds nobody there. */
void channel_close(struct channel *channel);
void channel_deinit(struct channel *channel);

/* Queues bytes as frames of one kind (an empty one for no bytes). */
struct error *channel_send(struct channel *channel, enum wire_kind kind, const void *bytes, size_t size)
    __attribute__((warn_unused_result));

/* What to poll the socket for. */
short channel_poll_events(const struct channel *channel);

/* Sends and receives what is possible without waiting. Errors of `handle` are
 * returned; the end of the channel is channel->ended. */
struct error *channel_pump(struct channel *channel,
                           struct error *(*handle)(void *context, const struct wire_frame *frame), void *context)
    __attribute__((warn_unused_result));

#endif
