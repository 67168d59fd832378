/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "attach/seccomp.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>

#define SECCOMP_GET_FILTER 0x420c /* PTRACE_SECCOMP_GET_FILTER */
#define SECCOMP_ROOM(array) (sizeof(array) / sizeof((array)[0]))

#if defined(__x86_64__)
#define SECCOMP_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define SECCOMP_ARCH AUDIT_ARCH_AARCH64
#endif

/* ---------------------------------------------------------------- reading */

static struct error *seccomp_unreadable(pid_t tid, int err)
{
    return error_create_errno(ERROR_UNSUPPORTED, err, "thread %d has a seccomp filter, which we may not read", tid);
}

static long seccomp_get(pid_t tid, size_t index, struct sock_filter *code)
{
    return ptrace((enum __ptrace_request)SECCOMP_GET_FILTER, tid, index, code);
}

struct error *seccomp_read(struct seccomp_filters *filters, pid_t tid)
{
    *filters = (struct seccomp_filters){.count = 0};
    for (size_t i = 0; i <= SECCOMP_ROOM(filters->list); i++) {
        long length = seccomp_get(tid, i, NULL);

        if (length < 0 && errno == ENOENT && i > 0)
            return NULL;
        struct sock_filter *code =
            length > 0 && i < SECCOMP_ROOM(filters->list) ? calloc((size_t)length, sizeof(*code)) : NULL;
        if (!code || seccomp_get(tid, i, code) != length) {
            int err = code || length < 0 ? errno : E2BIG;
            free(code);
            seccomp_deinit(filters);
            return seccomp_unreadable(tid, err);
        }
        filters->list[filters->count].code = code;
        filters->list[filters->count++].length = (size_t)length;
    }
    return NULL;
}

void seccomp_deinit(struct seccomp_filters *filters)
{
    for (size_t i = 0; i < filters->count; i++)
        free(filters->list[i].code);
    filters->count = 0;
}

/* ------------------------------------------------------------- the machine */

struct seccomp_machine {
    uint32_t accumulator, index, memory[BPF_MEMWORDS];
    unsigned char data[sizeof(struct seccomp_data)];
};

static bool seccomp_load(struct seccomp_machine *machine, const struct sock_filter *at)
{
    uint32_t value;

    switch (at->code) {
    case BPF_LD | BPF_W | BPF_ABS:
        if (at->k % 4 || at->k > sizeof(machine->data) - 4)
            return false;
        memcpy(&machine->accumulator, machine->data + at->k, 4);
        return true;
    case BPF_LD | BPF_W | BPF_LEN:
    case BPF_LDX | BPF_W | BPF_LEN:
        value = sizeof(machine->data);
        break;
    case BPF_LD | BPF_IMM:
    case BPF_LDX | BPF_IMM:
        value = at->k;
        break;
    case BPF_LD | BPF_MEM:
    case BPF_LDX | BPF_MEM:
        if (at->k >= BPF_MEMWORDS)
            return false;
        value = machine->memory[at->k];
        break;
    default:
        return false;
    }
    *(BPF_CLASS(at->code) == BPF_LD ? &machine->accumulator : &machine->index) = value;
    return true;
}

static bool seccomp_store(struct seccomp_machine *machine, const struct sock_filter *at)
{
    if (at->k >= BPF_MEMWORDS)
        return false;
    machine->memory[at->k] = BPF_CLASS(at->code) == BPF_ST ? machine->accumulator : machine->index;
    return true;
}

static bool seccomp_compute(struct seccomp_machine *machine, const struct sock_filter *at)
{
    uint32_t operand = BPF_SRC(at->code) == BPF_X ? machine->index : at->k, *a = &machine->accumulator;

    switch (BPF_OP(at->code)) {
    case BPF_ADD: *a += operand; return true;
    case BPF_SUB: *a -= operand; return true;
    case BPF_MUL: *a *= operand; return true;
    case BPF_OR:  *a |= operand; return true;
    case BPF_AND: *a &= operand; return true;
    case BPF_XOR: *a ^= operand; return true;
    case BPF_LSH: *a = operand < 32 ? *a << operand : 0; return true;
    case BPF_RSH: *a = operand < 32 ? *a >> operand : 0; return true;
    case BPF_NEG: *a = -*a; return true;
    case BPF_DIV:
        if (operand)
            *a /= operand;
        return operand != 0;
    default: return false;
    }
}

static bool seccomp_jump(const struct seccomp_machine *machine, const struct sock_filter *at, size_t *pc)
{
    uint32_t operand = BPF_SRC(at->code) == BPF_X ? machine->index : at->k, a = machine->accumulator;
    bool taken;

    switch (BPF_OP(at->code)) {
    case BPF_JA:
        *pc += at->k;
        return true;
    case BPF_JEQ: taken = a == operand; break;
    case BPF_JGT: taken = a > operand; break;
    case BPF_JGE: taken = a >= operand; break;
    case BPF_JSET: taken = (a & operand) != 0; break;
    default: return false;
    }
    *pc += taken ? at->jt : at->jf;
    return true;
}

/* Jumps go forward only, so it ends. */
static uint32_t seccomp_run(const struct sock_filter *code, size_t length, const struct seccomp_data *data)
{
    struct seccomp_machine machine = {0};
    bool sense = true;

    memcpy(machine.data, data, sizeof(machine.data));
    for (size_t pc = 0; sense && pc < length; pc++) {
        const struct sock_filter *at = &code[pc];

        switch (BPF_CLASS(at->code)) {
        case BPF_RET:
            return BPF_RVAL(at->code) == BPF_A ? machine.accumulator : at->k;
        case BPF_LD:
        case BPF_LDX: sense = seccomp_load(&machine, at); break;
        case BPF_ST:
        case BPF_STX: sense = seccomp_store(&machine, at); break;
        case BPF_ALU: sense = seccomp_compute(&machine, at); break;
        case BPF_JMP: sense = seccomp_jump(&machine, at, &pc); break;
        default: /* BPF_MISC: between the two registers */
            if (BPF_MISCOP(at->code) == BPF_TAX)
                machine.index = machine.accumulator;
            else
                machine.accumulator = machine.index;
        }
    }
    return SECCOMP_RET_KILL_PROCESS;
}

static enum seccomp_answer seccomp_decode(uint32_t value)
{
    switch (value & SECCOMP_RET_ACTION_FULL) {
    case SECCOMP_RET_ALLOW:
    case SECCOMP_RET_LOG:
        return SECCOMP_ALLOWED;
    case SECCOMP_RET_ERRNO:
        return SECCOMP_REFUSED;
    default:
        return SECCOMP_DEADLY;
    }
}

enum seccomp_answer seccomp_ask(const struct seccomp_filters *filters, long number, const uint64_t arguments[6],
                                uint64_t instruction_pointer)
{
    struct seccomp_data data = {.nr = (int)number, .arch = SECCOMP_ARCH, .instruction_pointer = instruction_pointer};
    enum seccomp_answer worst = SECCOMP_ALLOWED;

    for (size_t i = 0; i < 6; i++)
        data.args[i] = arguments[i];
    for (size_t i = 0; i < filters->count; i++) {
        enum seccomp_answer answer = seccomp_decode(seccomp_run(filters->list[i].code, filters->list[i].length, &data));

        worst = answer > worst ? answer : worst;
    }
    return worst;
}
