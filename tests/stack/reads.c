/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Reads the stacks of a live process again and again, as `safepoint stack` does, and prints each different answer once:
 * how often it came, "whole", "changing" or "failed", and its functions from the outermost in.
 *
 * usage: stack-reads PID NUMBER
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attach/process.h"
#include "attach/tracee.h"
#include "runtime/stack.h"

#define KINDS_MAX 4096

struct answer {
    char *text;
    unsigned long count;
};

static struct answer answers[KINDS_MAX];
static size_t answer_count;

static int fail(struct error *error)
{
    fprintf(stderr, "stack-reads: %s\n", error_message(error));
    error_destroy(error);
    return 1;
}

static void count_answer(char *text)
{
    for (size_t i = 0; i < answer_count; i++) {
        if (!strcmp(answers[i].text, text)) {
            answers[i].count++;
            free(text);
            return;
        }
    }
    if (answer_count < KINDS_MAX)
        answers[answer_count++] = (struct answer){text, 1};
    else
        free(text);
}

static char *describe(const struct stack *stack)
{
    char *text = NULL;
    size_t size;
    FILE *memory = open_memstream(&text, &size);

    if (!memory)
        exit(1);
    fputs(stack->error ? "failed" : stack->changing ? "changing" : "whole", memory);
    for (size_t i = stack->count; i--;)
        fprintf(memory, " %s", stack->frames[i].code->function);
    fclose(memory);
    return text;
}

static struct error *read_once(const struct runtime *runtime, struct stacks *stacks)
{
    struct thread_state *states;
    size_t count;
    struct error *error = runtime_read_threads(runtime, &states, &count);

    if (error)
        return error;
    struct activity *activities = calloc(count + 1, sizeof(*activities));
    struct activity **seen = calloc(count + 1, sizeof(struct activity *));
    for (size_t i = 0; i < count; i++) {
        seen[i] = &activities[i];
        activity_look(seen[i], runtime->process->pid, states[i].tid);
    }
    error = stacks_read(stacks, states, seen, count);
    for (size_t i = 0; !error && i < count; i++)
        count_answer(describe(&stacks->items[i]));
    free(seen);
    free(activities);
    free(states);
    return error;
}

int main(int argc, char **argv)
{
    struct process process;
    struct maps maps;
    struct runtime runtime;
    struct stacks stacks;
    struct error *error;

    if (argc != 3)
        return 2;
    if ((error = process_open(&process, atoi(argv[1]))) || (error = maps_read(&maps, process.pid)) ||
        (error = runtime_find(&runtime, &process, &maps)))
        return fail(error);
    stacks_init(&stacks, &runtime);
    uint64_t began = tracee_clock();
    for (long i = atol(argv[2]); !error && i--;)
        error = read_once(&runtime, &stacks);
    fprintf(stderr, "%.1f us a reading\n", (double)(tracee_clock() - began) / 1e3 / atol(argv[2]));
    stacks_deinit(&stacks);
    runtime_close(&runtime);
    maps_deinit(&maps);
    process_close(&process);
    for (size_t i = 0; i < answer_count; i++)
        printf("%lu %s\n", answers[i].count, answers[i].text);
    return error ? fail(error) : 0;
}
