/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A target that is held: opened, ours alone while we work on it, frozen. */
#include "cli/session.h"

#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attach/scope.h"
#include "cli/cgroup.h"
#include "cli/journal.h"
#include "cli/request.h"

#define SESSION_CHAIN_MS 1000

/* ------------------------------------------------------------------ target */

/* A core doesn't change: what it lacks, it lacks for good. What makes no sense where a file is lost comes of that. */
static struct error *session_explain_core(struct core *core, struct error *error)
{
    struct core_info info = core_get_info(core);
    enum error_code code = error_code(error);
    bool senseless = code == ERROR_UNSUPPORTED || code == ERROR_FAULT || code == ERROR_NOT_PYTHON;
    struct error *bad = senseless ? core_get_lost(core) : NULL;
    bool lacks = bad || code == ERROR_FAULT || code == ERROR_BUSY || (info.missing_bytes && code != ERROR_SYSTEM);

    if (!lacks)
        return error;
    if (bad)
        bad = error_context(bad, "%s", error_message(error));
    else
        bad = error_create(ERROR_BAD_FILE, code == ERROR_BUSY ? NULL : error_hint(error), "%s", error_message(error));
    error_destroy(error);
    return info.missing_bytes ? error_context(bad, "%s is cut short by %llu bytes", info.path,
                                              (unsigned long long)info.missing_bytes) : bad;
}

/* An error that came of the target's end is that. */
struct error *session_explain_error(const struct process *process, struct error *error)
{
    if (process->core)
        return error ? session_explain_core(process->core, error) : NULL;
    struct error *ended = error && error_code(error) != ERROR_TARGET_ENDED ? process_check(process) : NULL;

    if (!ended)
        return error;
    error_destroy(error);
    return ended;
}

static struct error *session_read_maps(struct session *session)
{
    struct error *error, *why;

    session->mapped = session->process.core ? 0 : process_read_mapped(session->process.pid);
    error = process_read_maps(&session->process, &session->maps);
    if (!error || session->process.core || error_code(error) != ERROR_PERMISSION ||
        !(why = process_check_access(session->process.pid)))
        return error;
    error_destroy(error);
    return why;
}

/* Of a process that is open, or a core. */
static struct error *session_find_python(struct session *session)
{
    struct error *error;

    if (!(error = session_read_maps(session)) &&
        (error = runtime_find(&session->runtime, &session->process, &session->maps)))
        maps_deinit(&session->maps);
    if (error) {
        error = session_explain_error(&session->process, error);
        process_close(&session->process);
        return error;
    }
    session->target = (struct inject_target){&session->process, &session->runtime, &session->maps, {.munmap = ADDRESS_NULL}};
    return NULL;
}

struct error *session_open(struct session *session, pid_t pid)
{
    memset(session, 0, sizeof(*session));
    struct error *error = process_open(&session->process, pid);
    return error ? error : session_find_python(session);
}

struct error *session_open_target(struct session *session, const struct cli_options *options)
{
    pid_t pid;
    struct error *error;

    if (!core_is_core(options->words[0]))
        return (error = cli_parse_pid(options->words[0], &pid)) ? error : session_open(session, pid);
    memset(session, 0, sizeof(*session));
    error = process_open_core(&session->process, options->words[0], &options->core);
    return error ? error : session_find_python(session);
}

void session_close(struct session *session)
{
    runtime_close(&session->runtime);
    maps_deinit(&session->maps);
    process_close(&session->process);
}

static struct error *session_renew_maps(struct session *session)
{
    struct maps fresh;
    struct error *error = maps_read(&fresh, session->process.pid);

    if (error)
        return error;
    maps_deinit(&session->maps);
    session->maps = fresh;
    return NULL;
}

/* Reading needs no code of the target's; running does. */
struct error *session_prepare(struct session *session)
{
    struct error *error = process_check(&session->process);

    if (error)
        return error;
    if (session->target.code.munmap.value) /* not the first request: the map is old */
        return session_renew_maps(session);
    if ((error = process_check_access(session->process.pid)))
        return error;
    error = borrow_find_code(&session->target.code, &session->process, &session->maps);
    if (!error || session->runtime.initialized)
        return error;
    error_destroy(error); /* what isn't mapped yet */
    return error_create(ERROR_BUSY, "try again in a moment", "Python is starting in process %d", session->process.pid);
}

void session_json_target(struct json *json, const struct session *session)
{
    json_begin_object(json, "target");
    if (session->process.core)
        json_string(json, "file", core_get_info(session->process.core).path);
    json_integer(json, "pid", session->process.pid);
    if (!session->process.core)
        json_unsigned(json, "start_time", session->process.start_time);
    json_string(json, "python", session->runtime.version);
    json_boolean(json, "free_threaded", session->runtime.free_threaded);
    json_boolean(json, "debug", session->runtime.debug_build);
    json_end_object(json);
}

/* --------------------------------------------------------------- one at a time */

/* What one of us that was killed may have left is cleared away. Its last steps may still be to be done, or have been done
 * since we have read the map. */
static struct error *session_clear_leftovers(struct session *session, struct process_status *status, unsigned *cleared)
{
    uint64_t until = tracee_clock() + SESSION_CHAIN_MS * REQUEST_MILLISECOND;
    unsigned children = 0;
    struct error *error;

    while (!(error = process_read_status(session->process.pid, 0, status)) &&
           process_blocks_all_signals(status->blocked_signals) && tracee_clock() < until)
        poll(NULL, 0, 1);
    if (!error && process_read_mapped(session->process.pid) != session->mapped)
        error = session_renew_maps(session);
    if (!error)
        error = inject_clear_leftovers(&session->target, cleared);
    if (!error)
        error = freeze_clear_leftovers(&session->target, &children);
    if (error && error_code(error) == ERROR_BUSY) { /* no thread can be borrowed just now: they stay for the next of us */
        error_destroy(error);
        error = NULL;
    }
    if (!error)
        *cleared += children + directory_clear(session->process.pid, session->process.start_time, status->euid);
    return error;
}

/* One of us at a time. Fills in the status of the process when it has the lock. */
struct error *session_lock(struct session *session, const struct cli_options *options, uint64_t deadline,
                                  struct process_status *status)
{
    unsigned cleared;
    bool locked;
    struct error *error;

    while (!(error = process_lock(&session->process, &locked)) && !locked) {
        if (cli_signals_pending())
            return error_create(ERROR_INTERRUPTED, NULL, "interrupted; nothing was posted");
        if (tracee_clock() >= deadline)
            return error_create(ERROR_NO_SAFE_POINT, "wait for it, or give this one more time: --timeout 60s",
                                "another safepoint is at work on process %d", session->process.pid);
        poll(NULL, 0, REQUEST_STATE_POLL_MS / 4);
    }
    if (!error)
        error = session_clear_leftovers(session, status, &cleared);
    if (!error && cleared)
        cli_note(options, "cleared away what %u killed request%s had left", cleared, cleared == 1 ? "" : "s");
    return error;
}

/* ------------------------------------------------------------------- freezing */

static uint64_t session_memory_room(const struct session *session)
{
    struct cgroup_use use;

    if (!cgroup_read(&use, session->process.pid, CGROUP_MEMORY))
        return UINT64_MAX;
    return use.used < use.limit ? use.limit - use.used : 0;
}

static struct error *session_hold(struct session *session, const struct cli_options *options)
{
    uint64_t deadline = tracee_clock() + (uint64_t)options->timeout_ms * REQUEST_MILLISECOND;
    struct process_status status;
    struct error *error = session_prepare(session);

    if (!error)
        error = session_lock(session, options, deadline, &status);
    if (!error)
        journal_record(options, session, inject_new_id());
    return error;
}

struct error *session_freeze(struct session *session, const struct cli_options *options, struct freeze *freeze)
{
    const struct freeze_options how = {
        .timeout_ms = options->timeout_ms < INT_MAX ? (int)options->timeout_ms : INT_MAX,
        .wake = options->wake,
        .no_fork = options->freeze.no_fork,
        .no_pause = options->freeze.no_pause,
        .memory_room = session_memory_room(session),
        .copy_max = options->freeze.max_memory,
        .cancelled = cli_signals_pending,
    };
    struct error *error = how.no_pause ? NULL : session_hold(session, options);

    if (!error)
        error = freeze_open(freeze, &session->target, &how);
    if (error)
        process_unlock(&session->process);
    return session_explain_error(&session->process, error);
}

void session_thaw(struct session *session, const struct cli_options *options, struct freeze *freeze)
{
    struct error *left = freeze_close(freeze);

    process_unlock(&session->process);
    if (left)
        cli_note(options, "%s", error_message(left));
    error_destroy(left);
}

struct error *session_trim(struct session *session, const struct cli_options *options, struct trim *trim)
{
    const struct trim_options how = {
        .timeout_ms = options->timeout_ms < INT_MAX ? (int)options->timeout_ms : INT_MAX,
        .wake = options->wake,
        .cancelled = cli_signals_pending,
    };
    struct error *error = session_hold(session, options);

    if (!error)
        error = trim_run(trim, &session->target, &how);
    process_unlock(&session->process);
    return session_explain_error(&session->process, error);
}
