/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The rules by which a process is refused, each on facts made for it: kernels differ in what they can show live. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attach/access.h"
#include "attach/probe.h"

#define ALICE 1000
#define BOB 1001

/* alice's safepoint and alice's process on a kernel that says no. */
static struct access_facts facts_make(void)
{
    struct access_facts facts = {.pid = 4711, .relation = ACCESS_SAME, .dumpable = true};

    for (int i = 0; i < 3; i++)
        facts.own.uids[i] = facts.own.gids[i] = facts.target.uids[i] = facts.target.gids[i] = ALICE;
    return facts;
}

static void facts_become(struct access_identity *identity, unsigned id, uint64_t capabilities)
{
    for (int i = 0; i < 3; i++)
        identity->uids[i] = identity->gids[i] = id;
    identity->permitted = identity->effective = capabilities;
}

/* The first rule in the way says `message`, and its cure `hint`. */
static void assert_cause(const struct access_facts *facts, const char *message, const char *hint)
{
    struct error *error = access_judge_all(facts);

    assert_non_null(error);
    assert_int_equal(error_code(error), ERROR_PERMISSION);
    if (!strstr(error_message(error), message))
        fail_msg("\"%s\" is not in \"%s\"", message, error_message(error));
    assert_non_null(error_hint(error));
    if (!strstr(error_hint(error), hint))
        fail_msg("\"%s\" is not in \"%s\"", hint, error_hint(error));
    error_destroy(error);
}

static void test_user(void **state)
{
    struct access_facts facts = facts_make();

    (void)state;
    facts_become(&facts.target, BOB, 0);
    assert_cause(&facts, "belongs to uid 1001, and we run as uid 1000", "sudo -u '#1001'");
    facts = facts_make();
    facts.target.gids[2] = BOB;
    facts.target.gids[1] = BOB;
    assert_cause(&facts, "runs with group 1001, and we with group 1000", "as root");
    facts = facts_make();
    facts.target.uids[1] = 0;
    assert_cause(&facts, "has the uids 1000, 0 and 1000", "as root");
    facts = facts_make();
    facts_become(&facts.own, 0, ~ACCESS_SYS_PTRACE);
    assert_cause(&facts, "CAP_SYS_PTRACE", "--cap-add=SYS_PTRACE");
    facts = facts_make();
    facts_become(&facts.own, 0, ACCESS_SYS_PTRACE);
    assert_cause(&facts, "CAP_DAC_OVERRIDE", "--reuid 1000");
}

static void test_namespace(void **state)
{
    struct access_facts facts = facts_make();

    (void)state;
    facts.relation = ACCESS_OUTER;
    assert_cause(&facts, "outside of our user namespace", "outside of this container");
    facts_become(&facts.own, 0, UINT64_MAX); /* root in it */
    assert_cause(&facts, "root inside of it only", "root of the host");
    facts = facts_make();
    facts.relation = ACCESS_INNER;
    facts.owner_known = true;
    facts.owner = BOB;
    assert_cause(&facts, "that uid 1001 made", "run as who made it");
    facts.owner_known = false;
    assert_cause(&facts, "that another user made", "run as who made it");
    facts.relation = ACCESS_UNRELATED;
    assert_cause(&facts, "outside of our user namespace", "outside");
}

/* Who made the namespace may do all in it: what is left then is no rule of these. */
static void test_namespace_of_ours(void **state)
{
    struct access_facts facts = facts_make();

    (void)state;
    facts.relation = ACCESS_INNER;
    facts.owner_known = true;
    facts.owner = ALICE;
    facts.target.permitted = UINT64_MAX;
    facts.yama = 2;
    assert_true(access_is_capable(&facts));
    assert_cause(&facts, "doesn't say why", "dmesg");
}

static void test_capabilities(void **state)
{
    struct access_facts facts = facts_make();
    char text[40];

    (void)state;
    facts.target.permitted = UINT64_C(1) << 10 | UINT64_C(1) << 40;
    assert_cause(&facts, "capabilities that we haven't: net_bind_service checkpoint_restore", "as root");
    assert_string_equal(access_format_capabilities(text, sizeof(text), 0), "");
    assert_string_equal(access_format_capabilities(text, sizeof(text), ACCESS_SYS_PTRACE), "sys_ptrace");
    assert_string_equal(access_format_capabilities(text, sizeof(text), UINT64_MAX), "chown dac_override dac_read_search ...");
    for (size_t room = 8; room <= sizeof(text); room++)
        assert_true(strlen(access_format_capabilities(text, room, UINT64_MAX)) < room);
}

static void test_dumpable(void **state)
{
    struct access_facts facts = facts_make();

    (void)state;
    facts.dumpable = false;
    assert_cause(&facts, "undumpable", "PR_SET_DUMPABLE");
}

static void test_yama(void **state)
{
    static const struct {
        int scope;
        const char *message, *hint;
    } rows[] = {
        {1, "only by its parents, and by who it names", "PR_SET_PTRACER"},
        {2, "only root", "sysctl kernel.yama.ptrace_scope=0"},
        {3, "lets nobody, not even root", "next boot"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct access_facts facts = facts_make();

        facts.yama = rows[i].scope;
        assert_cause(&facts, rows[i].message, rows[i].hint);
        facts_become(&facts.own, 0, UINT64_MAX);
        if (rows[i].scope == 3)
            assert_cause(&facts, rows[i].message, rows[i].hint);
        else
            assert_cause(&facts, "doesn't say why", "");
    }
}

/* What the kernel has granted is in nobody's way: the target may have named us by prctl. */
static void test_granted(void **state)
{
    struct access_facts facts = facts_make();

    (void)state;
    facts.yama = 1;
    facts.granted = true;
    assert_null(access_judge_all(&facts));
    facts.tracer = 99;
    strcpy(facts.tracer_name, "gdb");
    assert_cause(&facts, "already traced by process 99 (gdb)", "end that debugger");
    facts.filter = ENOSYS;
    assert_cause(&facts, "seccomp filter on safepoint itself forbids ptrace (Function not implemented)", "--cap-add=SYS_PTRACE");
    facts.filter = PROBE_KILLED;
    assert_cause(&facts, "it kills who calls it", "seccomp=unconfined");
}

static void test_module(void **state)
{
    struct access_facts facts = facts_make();

    (void)state;
    strcpy(facts.own.label, "docker-default (enforce)");
    assert_cause(&facts, "ours: docker-default (enforce); its: no label", "AppArmor");
}

/* The real kernel about a child of ours. */
static void test_read(void **state)
{
    struct access_facts facts;
    pid_t child = fork();

    (void)state;
    if (child == 0) {
        pause();
        _exit(0);
    }
    assert_null(access_read_facts(&facts, child));
    assert_int_equal(facts.relation, ACCESS_SAME);
    assert_true(facts.dumpable && access_is_same_user(&facts));
    assert_int_equal(facts.own.uids[0], getuid());
    assert_int_equal(facts.target.effective, facts.own.effective);
    assert_int_equal(facts.tracer, 0);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    struct error *error = access_explain(child);
    assert_int_equal(error_code(error), ERROR_NO_PROCESS);
    error_destroy(error);
}

static void test_probes(void **state)
{
    (void)state;
    /* Of these every kernel that the tests run on has all; the rest depends on who we are. */
    assert_int_equal(probe_run(PROBE_PTRACE), 0);
    assert_int_equal(probe_run(PROBE_PROCESS_VM), 0);
    assert_int_equal(probe_run(PROBE_PIDFD_OPEN), 0);
    assert_int_equal(probe_run(PROBE_MEMFD_CREATE), 0);
    for (enum probe probe = 0; probe < PROBES; probe++)
        assert_int_not_equal(probe_run(probe), PROBE_KILLED);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* nobody is left */
    assert_int_equal(errno, ECHILD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_user),    cmocka_unit_test(test_namespace), cmocka_unit_test(test_namespace_of_ours),
        cmocka_unit_test(test_capabilities), cmocka_unit_test(test_dumpable), cmocka_unit_test(test_yama),
        cmocka_unit_test(test_granted), cmocka_unit_test(test_module),    cmocka_unit_test(test_read),
        cmocka_unit_test(test_probes),
    };

    return cmocka_run_group_tests_name("attach access", tests, NULL, NULL);
}
