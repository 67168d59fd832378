/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Not by syslog(3): that waits without limit when the log's socket is full, and
 * whoever attaches at night does so while something is stuck. The line is the same
 * as syslog's (RFC 3164), sent by a socket that doesn't wait. For the same reason
 * names are looked up in /etc/passwd alone, not in a directory on the network.
 */
#include "cli/journal.h"

#include <errno.h>
#include <pwd.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "attach/scope.h"
#include "cli/host.h"

#define JOURNAL_COMMAND_MAX 200
#define JOURNAL_NO_LOGIN UINT32_MAX

/* --------------------------------------------------------------------- who */

char *journal_format_user(char *text, size_t room, uid_t uid)
{
    FILE *file = fopen("/etc/passwd", "re");
    const struct passwd *entry = NULL;

    while (file && (entry = fgetpwent(file)) && entry->pw_uid != uid)
        ;
    snprintf(text, room, entry ? "uid %u (%.32s)" : "uid %u", uid, entry ? entry->pw_name : "");
    if (file)
        fclose(file);
    return text;
}

/* Who logged in, which sudo and su leave as it is. False: nobody did. */
static bool journal_read_login(uid_t *uid)
{
    FILE *file = fopen("/proc/self/loginuid", "re");
    bool read = file && fscanf(file, "%u", uid) == 1 && *uid != JOURNAL_NO_LOGIN;

    if (file)
        fclose(file);
    return read;
}

static void journal_format_who(char *text, size_t room)
{
    char own[64], login[64];
    uid_t uid;

    journal_format_user(own, sizeof(own), getuid());
    if (journal_read_login(&uid) && uid != getuid())
        snprintf(text, room, "%s, logged in as %s", own, journal_format_user(login, sizeof(login), uid));
    else
        snprintf(text, room, "%s", own);
}

/* -------------------------------------------------------------------- line */

/* The target's own words: on one line, no control characters, no quote that ends ours, and cut. */
static void journal_quote(char *text, size_t room, const char *command)
{
    scoped_free char *escaped = cli_escape_line(command);
    size_t used = 0;

    text[used++] = '"';
    for (const char *at = escaped ? escaped : "?"; *at; at++) {
        bool begins = ((unsigned char)*at & 0xc0) != 0x80; /* a character of UTF-8 is cut nowhere else */

        if (begins && used + sizeof("xxxx...\"") >= room) {
            used += (size_t)sprintf(text + used, "...");
            break;
        }
        if (*at == '"' || *at == '\\')
            text[used++] = '\\';
        text[used++] = *at;
    }
    strcpy(text + used, "\"");
}

/* As syslog(3) begins a line, whatever our locale. */
static void journal_format_head(char *text, size_t room)
{
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t now = time(NULL);
    struct tm local;

    localtime_r(&now, &local);
    snprintf(text, room, "<%d>%s %2d %02d:%02d:%02d safepoint[%d]: ", LOG_AUTHPRIV | LOG_NOTICE, months[local.tm_mon],
             local.tm_mday, local.tm_hour, local.tm_min, local.tm_sec, getpid());
}

static void journal_format_line(char *text, size_t room, const char *command, const struct session *session,
                                uint64_t request)
{
    char head[64], who[192], target[JOURNAL_COMMAND_MAX];
    struct process_status status;
    scoped_free char *words = host_command(session->process.pid);

    error_destroy(process_read_status(session->process.pid, 0, &status));
    journal_format_head(head, sizeof(head));
    journal_format_who(who, sizeof(who));
    journal_quote(target, sizeof(target), words ? words : "?");
    snprintf(text, room, "%s%s: %s, pid %d (uid %u, CPython %s) %s, request %016llx", head, command, who,
             session->process.pid, status.euid, session->runtime.version, target, (unsigned long long)request);
}

/* ----------------------------------------------------------------- sending */

/* Datagrams as most listen for, or a stream. -1 and errno: nobody listens, or is too busy to. */
static int journal_connect(bool *stream)
{
    static const int types[] = {SOCK_DGRAM, SOCK_STREAM};
    const struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/dev/log"};
    int err = 0;

    for (int i = 0; i < 2; i++) {
        scoped_fd int fd = socket(AF_UNIX, types[i] | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        *stream = types[i] == SOCK_STREAM;
        if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
            return scope_take_fd(&fd);
        err = errno;
        if (err != EPROTOTYPE)
            break;
    }
    errno = err;
    return -1;
}

int journal_check(void)
{
    bool stream;
    scoped_fd int fd = journal_connect(&stream);

    return fd < 0 ? errno : 0;
}

/* 0 or errno. */
static int journal_send(const char *line)
{
    bool stream;
    scoped_fd int fd = journal_connect(&stream);
    size_t size = strlen(line) + stream; /* on a stream the NUL ends it */

    if (fd < 0)
        return errno;
    ssize_t sent = send(fd, line, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent < 0 ? errno : (size_t)sent < size ? EAGAIN : 0;
}

void journal_record(const struct cli_options *options, const struct session *session, uint64_t request)
{
    char line[1024];

    journal_format_line(line, sizeof(line), options->command->name, session, request);
    int err = journal_send(line);
    if (err && options->verbose)
        cli_note(options, "not in the system log: /dev/log: %s", strerror(err));
}
