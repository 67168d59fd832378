/* SPDX-License-Identifier: GPL-3.0-or-later */
/* doctor: what is allowed here, or with one process, and how to mend what isn't. Changes nothing. */
#include "cli/doctor.h"

#include <stdlib.h>
#include <string.h>

#include "attach/scope.h"
#include "cli/ps.h"

/* --------------------------------------------------------------------- list */

/* Takes ownership of the texts. */
static void doctor_add(struct doctor *doctor, const char *name, enum doctor_state state, char *text, char *hint)
{
    struct doctor_check *larger = reallocarray(doctor->checks, doctor->count + 1, sizeof(*larger));

    if (!larger) {
        free(text);
        free(hint);
        return;
    }
    doctor->checks = larger;
    larger[doctor->count++] = (struct doctor_check){name, state, text, hint};
}

static char *doctor_format(const char *fmt, va_list arguments) __attribute__((format(printf, 1, 0)));
static char *doctor_format(const char *fmt, va_list arguments)
{
    char *text;

    return vasprintf(&text, fmt, arguments) < 0 ? NULL : text;
}

void doctor_ok(struct doctor *doctor, const char *name, const char *fmt, ...)
{
    va_list arguments;

    va_start(arguments, fmt);
    doctor_add(doctor, name, DOCTOR_OK, doctor_format(fmt, arguments), NULL);
    va_end(arguments);
}

void doctor_warn(struct doctor *doctor, const char *name, const char *hint, const char *fmt, ...)
{
    va_list arguments;

    va_start(arguments, fmt);
    doctor_add(doctor, name, DOCTOR_WARN, doctor_format(fmt, arguments), hint ? strdup(hint) : NULL);
    va_end(arguments);
}

void doctor_fail(struct doctor *doctor, const char *name, struct error *error)
{
    const char *hint = error_hint(error);

    doctor_add(doctor, name, DOCTOR_FAIL, strdup(error_message(error)), hint ? strdup(hint) : NULL);
    if (doctor->verdict)
        error_destroy(error);
    else
        doctor->verdict = error;
}

void doctor_judge(struct doctor *doctor, const char *name, struct error *error, const char *fmt, ...)
{
    va_list arguments;

    if (error) {
        doctor_fail(doctor, name, error);
        return;
    }
    va_start(arguments, fmt);
    doctor_add(doctor, name, DOCTOR_OK, doctor_format(fmt, arguments), NULL);
    va_end(arguments);
}

static void doctor_deinit(struct doctor *doctor)
{
    for (size_t i = 0; i < doctor->count; i++) {
        free(doctor->checks[i].text);
        free(doctor->checks[i].hint);
    }
    free(doctor->checks);
    error_destroy(doctor->verdict);
}

/* ------------------------------------------------------------------- output */

static const struct {
    const char *word, *color;
} doctor_states[] = {
    [DOCTOR_OK] = {"ok", "\033[32m"},
    [DOCTOR_WARN] = {"warn", "\033[33m"},
    [DOCTOR_FAIL] = {"fail", "\033[1;31m"},
};

static void doctor_print(const struct doctor *doctor, bool color)
{
    for (size_t i = 0; i < doctor->count; i++) {
        const struct doctor_check *check = &doctor->checks[i];
        scoped_free char *text = cli_escape_line(check->text ? check->text : "?");
        scoped_free char *hint = check->hint ? cli_escape_line(check->hint) : NULL;

        fprintf(cli_output, "%-18s  %s%-4s%s  %s\n", check->name, color ? doctor_states[check->state].color : "",
                doctor_states[check->state].word, color ? "\033[0m" : "", text ? text : "?");
        if (hint)
            fprintf(cli_output, "%-18s  %-4s  cure: %s\n", "", "", hint);
    }
}

static void doctor_print_json(const struct doctor *doctor, struct json *json, const struct ps_counts *counts)
{
    json_begin_object(json, "result");
    json_begin_array(json, "checks");
    for (size_t i = 0; i < doctor->count; i++) {
        const struct doctor_check *check = &doctor->checks[i];

        json_begin_object(json, NULL);
        json_string(json, "name", check->name);
        json_string(json, "state", doctor_states[check->state].word);
        json_string(json, "text", check->text);
        json_string(json, "hint", check->hint);
        json_end_object(json);
    }
    json_end_array(json);
    if (counts) {
        json_begin_object(json, "processes");
        json_unsigned(json, "can", counts->can);
        json_unsigned(json, "cannot", counts->cannot);
        json_unsigned(json, "not_looked_at", counts->closed);
        json_end_object(json);
    }
    json_boolean(json, "can_attach", !doctor->verdict);
    json_end_object(json);
}

static void doctor_json_target(struct json *json, pid_t pid, uint64_t start_time)
{
    json_begin_object(json, "target");
    json_integer(json, "pid", pid);
    json_unsigned(json, "start_time", start_time);
    json_end_object(json);
}

static struct error *doctor_run(const struct cli_options *options, struct json *json)
{
    struct doctor doctor = {0};
    struct ps_counts counts;
    uint64_t start_time = 0;
    pid_t pid = 0;
    struct error *error = options->count ? cli_parse_pid(options->words[0], &pid) : NULL;

    if (error)
        return error;
    if (pid)
        doctor_examine_target(&doctor, pid, &start_time);
    else
        doctor_examine_host(&doctor, &counts);
    if (options->json && start_time)
        doctor_json_target(json, pid, start_time);
    if (options->json)
        doctor_print_json(&doctor, json, pid ? NULL : &counts);
    else
        doctor_print(&doctor, cli_use_color(options, cli_output));
    if (!options->json && !doctor.verdict && pid)
        fprintf(cli_output, "\nsafepoint can attach to process %d\n", pid);
    else if (!options->json && !doctor.verdict)
        fputs("\nsafepoint can work here\n", cli_output);
    fflush(cli_output);
    error = doctor.verdict;
    doctor.verdict = NULL;
    doctor_deinit(&doctor);
    return error;
}

const struct cli_command cli_command_doctor = {
    .name = "doctor",
    .synopsis = "[PID]",
    .summary = "what this host, kernel and user allow, or what a process does, and the cure of what fails",
    .description =
        "Without a PID: this host. With one: all that decides whether a script could be run in that\n"
        "process, in the order in which it is asked. warn works less well, or not for all; fail stands\n"
        "in the way. What it tries it tries on itself; in the target it stops, runs and changes nothing.\n"
        "Exit status: 0 when nothing stands in the way. With a PID, else that of the first failure, as\n"
        "exec would have it (3, 4, 5, or 6 for a stopped process); without, 4 or 5 when there is\n"
        "nothing that we could attach to.",
    .example = "safepoint doctor 4711",
    .words_max = 1,
    .run = doctor_run,
};
