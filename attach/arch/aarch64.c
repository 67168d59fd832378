/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * AArch64. Written after the kernel's arch/arm64/include/uapi/asm/sigcontext.h
 * and kernel/signal.c; compiled, never run. What is known to be missing:
 *  - threads that use SVE or SME are refused (only FPSIMD is put in the frame);
 *  - the kernel has rewound the program counter to the `svc` before a tracer
 *    sees an interrupted call, so blocked() can't tell it from user code and a
 *    blocked thread can't be woken by EINTR.
 */
#if defined(__aarch64__)

#include "attach/arch/arch.h"

#include <elf.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#define ARM_FPSIMD_MAGIC 0x46508001U
#define ARM_SP 31
#define ARM_PC 32
#define ARM_PSTATE 33
#define ARM_WORDS 34
#define ARM_LINK 30
#define ARM_SYSCALL_NUMBER 8
#define ARM_STACK_FLAGS_INVALID 0x7fffffff

struct arm_fpsimd {
    uint32_t magic, size, fpsr, fpcr;
    unsigned char vectors[512];
};

struct arm_frame {
    unsigned char siginfo[128];
    uint64_t uc_flags, uc_link;
    struct {
        uint64_t sp;
        int32_t flags, pad;
        uint64_t size;
    } uc_stack;
    uint64_t uc_sigmask;
    unsigned char uc_unused[120];
    struct {
        uint64_t fault_address, words[ARM_WORDS], pad;
        unsigned char records[4096];
    } __attribute__((aligned(16))) context;
};

static void arm_prepare(void)
{
}

static struct error *arm_read_state(pid_t tid, struct arch_state *state)
{
    struct iovec registers = {state->registers, sizeof(state->registers)};
    struct iovec vectors = {state->extended, sizeof(state->extended)};
    uint32_t sve[4] = {0};
    struct iovec sve_header = {sve, sizeof(sve)};

    if (ptrace(PTRACE_GETREGSET, tid, NT_PRSTATUS, &registers) < 0 ||
        ptrace(PTRACE_GETREGSET, tid, NT_PRFPREG, &vectors) < 0 ||
        ptrace(PTRACE_GETSIGMASK, tid, sizeof(state->signal_mask), &state->signal_mask) < 0)
        return error_create_errno(ERROR_SYSTEM, errno, "can't read the registers of thread %d", tid);
    state->register_size = registers.iov_len;
    state->extended_size = vectors.iov_len;
    if (state->register_size != ARM_WORDS * sizeof(uint64_t))
        return error_create(ERROR_UNSUPPORTED, NULL, "thread %d runs 32-bit code", tid);
    /* struct user_sve_header: flags in the second half-word of word 3; bit 0 says that SVE state is live */
    if (ptrace(PTRACE_GETREGSET, tid, 0x405, &sve_header) == 0 && (sve[3] & 1))
        return error_create(ERROR_UNSUPPORTED, NULL, "thread %d uses SVE, which a frame of ours can't restore", tid);
    return NULL;
}

static uint64_t arm_stack_pointer(const struct arch_state *state)
{
    return state->registers[ARM_SP];
}

/* "DWARF for the Arm 64-bit Architecture": x0 to x30, then sp. */
static size_t arm_number_registers(const struct arch_state *state, uint64_t *registers)
{
    memcpy(registers, state->registers, (ARM_SP + 1) * sizeof(*registers));
    return ARM_SP + 1;
}

static uint64_t arm_instruction_pointer(const struct arch_state *state)
{
    return state->registers[ARM_PC];
}

static uint64_t arm_thread_pointer(const struct arch_state *state)
{
    (void)state; /* NT_ARM_TLS; pthread_self() lies before it by the size of glibc's struct pthread */
    return 0;
}

/* bl, or blr: the four bytes before. */
static bool arm_follows_call(const unsigned char before[8])
{
    uint32_t instruction;

    memcpy(&instruction, before + 4, sizeof(instruction));
    return instruction >> 26 == 0x25 || (instruction & 0xfffffc1fU) == 0xd63f0000U;
}

static enum arch_blocked arm_blocked(const struct arch_state *state, long *number, uint64_t *arguments)
{
    (void)state, (void)number, (void)arguments;
    return ARCH_NOT_BLOCKED;
}

static size_t arm_frame_size(const struct arch_state *state)
{
    (void)state;
    return sizeof(struct arm_frame) + 16;
}

static void arm_build_frame(const struct arch_state *state, struct address at, const struct arch_places *places,
                            enum arch_resume resume, void *bytes)
{
    struct arm_frame *frame = bytes;
    struct arm_fpsimd *fpsimd = (struct arm_fpsimd *)frame->context.records;

    (void)at, (void)places, (void)resume;
    memset(bytes, 0, arm_frame_size(state));
    frame->uc_stack.flags = ARM_STACK_FLAGS_INVALID;
    frame->uc_sigmask = state->signal_mask;
    memcpy(frame->context.words, state->registers, sizeof(frame->context.words));
    fpsimd->magic = ARM_FPSIMD_MAGIC;
    fpsimd->size = sizeof(*fpsimd);
    memcpy(fpsimd->vectors, state->extended, sizeof(fpsimd->vectors));
    /* struct user_fpsimd_state: vregs, fpsr, fpcr */
    memcpy(&fpsimd->fpsr, state->extended + sizeof(fpsimd->vectors), sizeof(uint32_t));
    memcpy(&fpsimd->fpcr, state->extended + sizeof(fpsimd->vectors) + sizeof(uint32_t), sizeof(uint32_t));
}

static void arm_fill_step(const struct arch_state *state, const struct arch_step *step, struct address next,
                          const struct arch_places *places, uint64_t *words)
{
    memcpy(words, state->registers, ARM_WORDS * sizeof(*words));
    memcpy(words, step->arguments, sizeof(step->arguments));
    words[ARM_SP] = next.value;
    words[ARM_PC] = step->is_syscall ? places->syscall.value : step->target;
    words[ARM_LINK] = places->sigreturn.value;
    words[ARM_PSTATE] &= ~(3ULL << 10); /* BTYPE: no branch target is expected here */
    if (step->is_syscall)
        words[ARM_SYSCALL_NUMBER] = step->target;
}

/* The floating-point record must be there: the kernel refuses a frame without. */
static void arm_build_step(const struct arch_state *state, const struct arch_step *step, struct address next,
                           const struct arch_places *places, void *bytes)
{
    struct arm_frame *frame = bytes;

    arm_build_frame(state, next, places, ARCH_RESUME_SAME, bytes);
    frame->uc_sigmask = arch_step_mask(state, step);
    arm_fill_step(state, step, next, places, frame->context.words);
}

static struct error *arm_point_at_step(pid_t tid, const struct arch_state *state, const struct arch_step *step,
                                       struct address next, const struct arch_places *places)
{
    uint64_t words[ARM_WORDS];
    struct iovec vector = {words, sizeof(words)};
    int no_syscall = -1;
    struct iovec number = {&no_syscall, sizeof(no_syscall)};

    arm_fill_step(state, step, next, places, words);
    if (ptrace(PTRACE_SETREGSET, tid, NT_PRSTATUS, &vector) < 0)
        return error_create_errno(ERROR_SYSTEM, errno, "can't set the registers of thread %d", tid);
    ptrace(PTRACE_SETREGSET, tid, 0x404 /* NT_ARM_SYSTEM_CALL */, &number);
    return NULL;
}

static const uint32_t arm_syscall_code[] = {0xd4000001, 0xd65f03c0};   /* svc #0; ret */
static const uint32_t arm_sigreturn_code[] = {0xd2801168, 0xd4000001}; /* mov x8, #139; svc #0 (in the vDSO) */

const struct arch arch_native = {
    .name = "AArch64",
    .elf_machine = EM_AARCH64,
    .red_zone = 0,
    .syscall_length = 0,
    .syscall_code = {arm_syscall_code, sizeof(arm_syscall_code)},
    .sigreturn_code = {arm_sigreturn_code, sizeof(arm_sigreturn_code)},
    .nr = {.mmap = 222, .munmap = 215, .close = 57, .socketpair = 199, .memfd_create = 279, .clock_gettime = 113,
           .rt_sigsuspend = 133, .pause = -1},
    .prepare = arm_prepare,
    .read_state = arm_read_state,
    .stack_pointer = arm_stack_pointer,
    .instruction_pointer = arm_instruction_pointer,
    .thread_pointer = arm_thread_pointer,
    .number_registers = arm_number_registers,
    .dwarf_stack_pointer = ARM_SP,
    .follows_call = arm_follows_call,
    .blocked = arm_blocked,
    .frame_skew = 0,
    .frame_mask = offsetof(struct arm_frame, uc_sigmask),
    .frame_stack = offsetof(struct arm_frame, context.words[ARM_SP]),
    .frame_size = arm_frame_size,
    .step_size = sizeof(struct arm_frame) + 16,
    .build_frame = arm_build_frame,
    .build_step = arm_build_step,
    .point_at_step = arm_point_at_step,
};

#endif
