/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A C program with Python inside: no command line of Python's, no signal handlers of its own.
 *
 * usage: embed WHERE SCRIPT [ARGUMENTS...]
 *   main     Python is started on the main thread, which runs the script
 *   thread   it is started and runs on a second thread, and is the main one to Python; the process's first waits for it in C
 *   worker   it is started on the main thread, which gives up the GIL and waits in C; the script runs on a second thread
 *   loop     the same, and the main thread waits 20 ms at a time, and works for about as long in between
 * Exit status: 0 when the script was done.
 */
#include <Python.h>
#include <poll.h>
#include <pthread.h>
#include <time.h>

static int argument_count;
static char **arguments;
static int over[2]; /* a pipe, closed when the script is done */
static int status = 1;

static void start_python(void)
{
    PyConfig config;

    PyConfig_InitPythonConfig(&config);
    config.install_signal_handlers = 0;
    config.parse_argv = 0;
    PyStatus made = PyConfig_SetBytesArgv(&config, argument_count, arguments);
    if (!PyStatus_Exception(made))
        made = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    if (PyStatus_Exception(made))
        Py_ExitStatusException(made);
}

static void run_script(void)
{
    FILE *file = fopen(arguments[0], "r");

    if (file)
        status = PyRun_SimpleFileExFlags(file, arguments[0], 1, NULL) == 0 ? 0 : 1;
}

static void *all_on_this_thread(void *unused)
{
    start_python();
    run_script();
    if (Py_FinalizeEx() < 0)
        status = 1;
    close(over[1]);
    return unused;
}

static void *script_on_this_thread(void *unused)
{
    PyGILState_STATE state = PyGILState_Ensure();

    run_script();
    PyGILState_Release(state);
    close(over[1]);
    return unused;
}

static void work_for(long milliseconds)
{
    struct timespec now, since;

    clock_gettime(CLOCK_MONOTONIC, &since);
    do
        clock_gettime(CLOCK_MONOTONIC, &now);
    while ((now.tv_sec - since.tv_sec) * 1000 + (now.tv_nsec - since.tv_nsec) / 1000000 < milliseconds);
}

/* As a program's own event loop does: in a call of the C library's. */
static void wait_in_c(void *(*work)(void *), int milliseconds)
{
    struct pollfd fd = {.fd = over[0], .events = POLLIN};
    pthread_t thread;

    if (pthread_create(&thread, NULL, work, NULL) != 0)
        exit(3);
    while (poll(&fd, 1, milliseconds) <= 0)
        work_for(milliseconds);
    pthread_join(thread, NULL);
}

int main(int argc, char **argv)
{
    if (argc < 3 || pipe(over) != 0)
        return 2;
    argument_count = argc - 2;
    arguments = argv + 2;
    if (!strcmp(argv[1], "main")) {
        all_on_this_thread(NULL);
    } else if (!strcmp(argv[1], "thread")) {
        wait_in_c(all_on_this_thread, -1);
    } else {
        start_python();
        PyThreadState *main_state = PyEval_SaveThread();
        wait_in_c(script_on_this_thread, strcmp(argv[1], "loop") ? -1 : 20);
        PyEval_RestoreThread(main_state);
        if (Py_FinalizeEx() < 0)
            status = 1;
    }
    return status;
}
