/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "protocol/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHANNEL_FRAME_PAYLOAD 32768
#define CHANNEL_PACKETS_A_PUMP 64 /* so that the caller can look at its clock */

void channel_init(struct channel *channel)
{
    memset(channel, 0, offsetof(struct channel, decoder));
    channel->fd = -1;
    wire_decoder_init(&channel->decoder);
    channel->queue = NULL;
    channel->queue_size = channel->queue_sent = channel->queue_room = 0;
}

struct error *channel_open(struct channel *channel, int fd)
{
    int flags = fcntl(fd, F_GETFL);

    channel->fd = fd;
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return error_create_errno(ERROR_SYSTEM, errno, "can't set up the channel");
    return NULL;
}

void channel_deafen(struct channel *channel)
{
    shutdown(channel->fd, SHUT_RD);
    channel->queue_size = channel->queue_sent = 0;
}

bool channel_await_hangup(const struct channel *channel, int timeout_ms)
{
    struct pollfd fd = {.fd = channel->fd};

    return channel->fd < 0 || (poll(&fd, 1, timeout_ms) > 0 && (fd.revents & POLLHUP));
}

void channel_close(struct channel *channel)
{
    if (channel->fd >= 0)
        close(channel->fd);
    channel->fd = -1;
    channel->ended = true;
}

void channel_deinit(struct channel *channel)
{
    channel_close(channel);
    free(channel->queue);
    channel->queue = NULL;
}

static bool channel_reserve(struct channel *channel, size_t more)
{
    if (channel->queue_room - channel->queue_size >= more)
        return true;
    size_t room = (channel->queue_size + more) * 2;
    unsigned char *queue = realloc(channel->queue, room);
    if (!queue)
        return false;
    channel->queue = queue;
    channel->queue_room = room;
    return true;
}

struct error *channel_send(struct channel *channel, enum wire_kind kind, const void *bytes, size_t size)
{
    size_t frames = size / CHANNEL_FRAME_PAYLOAD + 1, done = 0;

    if (!channel_reserve(channel, size + frames * WIRE_HEADER_SIZE))
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the script");
    do {
        size_t part = size - done < CHANNEL_FRAME_PAYLOAD ? size - done : CHANNEL_FRAME_PAYLOAD;
        unsigned char *frame = channel->queue + channel->queue_size;

        wire_encode_header(frame, kind, part);
        if (part)
            memcpy(frame + WIRE_HEADER_SIZE, (const unsigned char *)bytes + done, part);
        channel->queue_size += WIRE_HEADER_SIZE + part;
        done += part;
    } while (done < size);
    return NULL;
}

short channel_poll_events(const struct channel *channel)
{
    return channel->queue_sent < channel->queue_size ? POLLIN | POLLOUT : POLLIN;
}

static size_t channel_next_frame_size(const struct channel *channel)
{
    const unsigned char *frame = channel->queue + channel->queue_sent;

    return WIRE_HEADER_SIZE + ((size_t)frame[0] | (size_t)frame[1] << 8 | (size_t)frame[2] << 16);
}

static struct error *channel_flush(struct channel *channel)
{
    while (channel->queue_sent < channel->queue_size) {
        size_t size = channel_next_frame_size(channel);
        ssize_t put = send(channel->fd, channel->queue + channel->queue_sent, size, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (put < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
            return NULL;
        if (put < 0 && (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN))
            break; /* reading says the same */
        if (put < 0)
            return error_create_errno(ERROR_SYSTEM, errno, "can't send the script");
        channel->queue_sent += size;
    }
    channel->queue_size = channel->queue_sent = 0;
    return NULL;
}

struct error *channel_pump(struct channel *channel,
                           struct error *(*handle)(void *context, const struct wire_frame *frame), void *context)
{
    unsigned char packet[WIRE_HEADER_SIZE + WIRE_PAYLOAD_MAX];
    struct error *error = channel_flush(channel);

    for (int packets = 0; !error && packets < CHANNEL_PACKETS_A_PUMP; packets++) {
        ssize_t got = recv(channel->fd, packet, sizeof(packet), MSG_DONTWAIT);

        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
            return channel_flush(channel);
        if (got <= 0) {
            channel->ended = true;
            return NULL;
        }
        error = wire_decoder_feed(&channel->decoder, packet, (size_t)got, handle, context);
    }
    return error;
}
