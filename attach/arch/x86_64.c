/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * x86-64. The frame is the kernel's struct rt_sigframe (arch/x86/include/asm/
 * sigframe.h and uapi/asm/sigcontext.h), the floating-point state behind it as
 * XSAVE's standard format, marked with the two magic numbers that let the kernel
 * restore all of it and not only SSE.
 *
 *      stack pointer of the thread
 *      128 bytes                    red zone
 *      ...                          (64-aligned)
 *      XSAVE area, magic2           fpstate points here
 *      struct x86_frame             the thread's own state: pretcode = sigreturn, ucontext
 *      struct x86_frame, ...        one for each further step, the next step's frame above it
 *      stack of the called code     grows down, over the frames that are done with
 */
#if defined(__x86_64__)

#include "attach/arch/arch.h"

#include <cpuid.h>
#include <elf.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>

#define X86_KERNEL_ERESTARTSYS (-512)
#define X86_KERNEL_ERESTARTNOINTR (-513)
#define X86_KERNEL_ERESTARTNOHAND (-514)
#define X86_KERNEL_ERESTART_RESTARTBLOCK (-516)

#define X86_UC_FP_XSTATE 1
#define X86_UC_SIGCONTEXT_SS 2
#define X86_UC_STRICT_RESTORE_SS 4
#define X86_XSTATE_MAGIC1 0x46505853U
#define X86_XSTATE_MAGIC2 0x46505845U
#define X86_SW_RESERVED 464 /* struct _fpx_sw_bytes in the legacy area */
#define X86_XSTATE_BV 512
#define X86_LEGACY_SIZE 512
#define X86_AMX_FEATURES ((1ULL << 17) | (1ULL << 18))
/* No mode of sigaltstack(): the kernel then leaves the alternate stack alone. */
#define X86_STACK_FLAGS_INVALID 0x7fffffff

struct x86_sigcontext {
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15, di, si, bp, bx, dx, ax, cx, sp, ip, flags;
    uint16_t cs, gs, fs, ss;
    uint64_t err, trapno, oldmask, cr2, fpstate, reserved[8];
};

struct x86_frame {
    uint64_t pretcode;
    uint64_t uc_flags, uc_link;
    struct {
        uint64_t sp;
        int32_t flags, pad;
        uint64_t size;
    } uc_stack;
    struct x86_sigcontext context;
    uint64_t uc_sigmask;
    unsigned char siginfo[128];
    uint64_t pad; /* to a multiple of 16 */
};

struct x86_software_bytes {
    uint32_t magic1, extended_size;
    uint64_t xfeatures;
    uint32_t xstate_size, padding[7];
};

static const struct user_regs_struct *x86_registers(const struct arch_state *state)
{
    return (const struct user_regs_struct *)state->registers;
}

/* ---------------------------------------------------------------- reading */

static struct error *x86_read_state(pid_t tid, struct arch_state *state)
{
    struct iovec registers = {state->registers, sizeof(state->registers)};
    struct iovec extended = {state->extended, sizeof(state->extended)};

    if (ptrace(PTRACE_GETREGSET, tid, NT_PRSTATUS, &registers) < 0)
        return error_create_errno(ERROR_SYSTEM, errno, "can't read the registers of thread %d", tid);
    if (ptrace(PTRACE_GETREGSET, tid, NT_X86_XSTATE, &extended) < 0) {
        extended.iov_len = sizeof(state->extended);
        if (ptrace(PTRACE_GETREGSET, tid, NT_PRFPREG, &extended) < 0)
            return error_create_errno(ERROR_SYSTEM, errno, "can't read the vector registers of thread %d", tid);
    }
    if (ptrace(PTRACE_GETSIGMASK, tid, sizeof(state->signal_mask), &state->signal_mask) < 0)
        return error_create_errno(ERROR_SYSTEM, errno, "can't read the signal mask of thread %d", tid);
    state->register_size = registers.iov_len;
    state->extended_size = extended.iov_len;
    if (extended.iov_len == sizeof(state->extended))
        return error_create(ERROR_UNSUPPORTED, NULL, "the vector state of this processor is larger than we know");
    /* A 32-bit thread shows its registers in another layout. */
    if (state->register_size != sizeof(struct user_regs_struct) || x86_registers(state)->cs != 0x33)
        return error_create(ERROR_UNSUPPORTED, NULL, "thread %d runs 32-bit code", tid);
    return NULL;
}

static uint64_t x86_stack_pointer(const struct arch_state *state)
{
    return x86_registers(state)->rsp;
}

static uint64_t x86_instruction_pointer(const struct arch_state *state)
{
    return x86_registers(state)->rip;
}

static uint64_t x86_thread_pointer(const struct arch_state *state)
{
    return x86_registers(state)->fs_base;
}

/* System V ABI, AMD64: figure 3.36, "DWARF Register Number Mapping". */
static size_t x86_number_registers(const struct arch_state *state, uint64_t *registers)
{
    const struct user_regs_struct *r = x86_registers(state);
    const uint64_t ordered[] = {r->rax, r->rdx, r->rcx, r->rbx, r->rsi, r->rdi, r->rbp, r->rsp, r->r8,
                                r->r9,  r->r10, r->r11, r->r12, r->r13, r->r14, r->r15, r->rip};

    memcpy(registers, ordered, sizeof(ordered));
    return sizeof(ordered) / sizeof(ordered[0]);
}

/* call rel32, or call through a register or memory (ff /2) of 2 to 7 bytes. */
static bool x86_follows_call(const unsigned char before[8])
{
    if (before[3] == 0xe8)
        return true;
    for (int length = 2; length <= 7; length++) {
        if (before[8 - length] == 0xff && (before[9 - length] & 0x38) == 0x10)
            return true;
    }
    return false;
}

static enum arch_blocked x86_blocked(const struct arch_state *state, long *number, uint64_t *arguments)
{
    const struct user_regs_struct *r = x86_registers(state);
    const uint64_t values[6] = {r->rdi, r->rsi, r->rdx, r->r10, r->r8, r->r9};

    if ((int64_t)r->orig_rax < 0)
        return ARCH_NOT_BLOCKED;
    *number = (long)r->orig_rax;
    memcpy(arguments, values, sizeof(values));
    switch ((int64_t)r->rax) {
    case -EINTR:
        return ARCH_INTERRUPTED;
    case X86_KERNEL_ERESTARTNOINTR:
        return ARCH_RESTARTS_HIDDEN;
    case X86_KERNEL_ERESTARTSYS:
    case X86_KERNEL_ERESTARTNOHAND:
        return ARCH_RESTARTS;
    case X86_KERNEL_ERESTART_RESTARTBLOCK:
        return ARCH_RESTARTS_BLOCK;
    default:
        return ARCH_NOT_BLOCKED;
    }
}

/* -------------------------------------------------------------- the frame */

/* The features and the size of the XSAVE area in the signal frame of a process
 * that hasn't asked for AMX: a larger one is refused by the kernel, which would then
 * restore only SSE. From CPUID leaf 0xd, standard format; read once, and not while
 * a thread is stopped: in a virtual machine each CPUID takes long. */
static struct {
    uint64_t features;
    uint32_t size; /* 0: not read yet */
} x86_default_xstate;

static void x86_prepare(void)
{
    uint32_t low, high, size = X86_LEGACY_SIZE + 64;

    if (x86_default_xstate.size)
        return;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    x86_default_xstate.features = ((uint64_t)high << 32 | low) & ~X86_AMX_FEATURES;
    for (unsigned i = 2; i < 63; i++) {
        unsigned a, b, c, d;

        if (!(x86_default_xstate.features >> i & 1))
            continue;
        __cpuid_count(0xd, i, a, b, c, d);
        if (b + a > size)
            size = b + a;
    }
    x86_default_xstate.size = size;
}

static uint32_t x86_xstate_size(const struct arch_state *state, uint64_t *features)
{
    uint64_t in_use;
    uint32_t size;

    x86_prepare();
    size = x86_default_xstate.size;
    *features = x86_default_xstate.features;
    memcpy(&in_use, state->extended + X86_XSTATE_BV, sizeof(in_use));
    if (in_use & ~*features) { /* AMX, and in use: all of it */
        memcpy(features, state->extended + X86_SW_RESERVED, sizeof(*features));
        size = (uint32_t)state->extended_size;
    }
    return size < state->extended_size ? size : (uint32_t)state->extended_size;
}

static size_t x86_frame_size(const struct arch_state *state)
{
    uint64_t features;
    size_t extended = state->extended_size > X86_LEGACY_SIZE ? x86_xstate_size(state, &features) : X86_LEGACY_SIZE;

    return sizeof(struct x86_frame) + 64 + extended + sizeof(uint32_t) + 64;
}

/* The XSAVE area's place for a frame at `at`: the next multiple of 64. */
static uint64_t x86_fpstate_at(struct address at)
{
    return (at.value + sizeof(struct x86_frame) + 63) & ~63ULL;
}

static void x86_build_fpstate(const struct arch_state *state, unsigned char *area)
{
    struct x86_software_bytes software = {.magic1 = X86_XSTATE_MAGIC1};
    const uint32_t magic2 = X86_XSTATE_MAGIC2;

    if (state->extended_size <= X86_LEGACY_SIZE) {
        memcpy(area, state->extended, state->extended_size);
        return;
    }
    software.xstate_size = x86_xstate_size(state, &software.xfeatures);
    memcpy(area, state->extended, software.xstate_size);
    software.extended_size = software.xstate_size + (uint32_t)sizeof(magic2);
    memcpy(area + X86_SW_RESERVED, &software, sizeof(software));
    memcpy(area + software.xstate_size, &magic2, sizeof(magic2));
}

/* Where the thread goes on: an interrupted system call is begun again (its
 * instruction is short), or returns EINTR. */
static void x86_resume(const struct arch_state *state, enum arch_resume resume, struct x86_sigcontext *context)
{
    long number;
    uint64_t arguments[6];

    switch (x86_blocked(state, &number, arguments)) {
    case ARCH_NOT_BLOCKED:
    case ARCH_INTERRUPTED:
        return;
    case ARCH_RESTARTS:
        if (resume == ARCH_RESUME_EINTR)
            break;
        /* fall through */
    case ARCH_RESTARTS_HIDDEN:
        context->ip -= arch_native.syscall_length;
        context->ax = (uint64_t)number;
        return;
    case ARCH_RESTARTS_BLOCK:
        break;
    }
    context->ax = (uint64_t)-EINTR;
}

static void x86_init_frame(struct x86_frame *frame, const struct arch_places *places)
{
    frame->pretcode = places->sigreturn.value;
    frame->uc_flags = X86_UC_SIGCONTEXT_SS | X86_UC_STRICT_RESTORE_SS;
    frame->uc_stack.flags = X86_STACK_FLAGS_INVALID;
}

static void x86_build_frame(const struct arch_state *state, struct address at, const struct arch_places *places,
                            enum arch_resume resume, void *bytes)
{
    const struct user_regs_struct *r = x86_registers(state);
    struct x86_frame *frame = bytes;
    uint64_t fpstate = x86_fpstate_at(at);

    memset(bytes, 0, x86_frame_size(state));
    x86_init_frame(frame, places);
    if (state->extended_size > X86_LEGACY_SIZE)
        frame->uc_flags |= X86_UC_FP_XSTATE;
    frame->uc_sigmask = state->signal_mask;
    frame->context = (struct x86_sigcontext){
        .r8 = r->r8,   .r9 = r->r9,   .r10 = r->r10, .r11 = r->r11, .r12 = r->r12,    .r13 = r->r13,
        .r14 = r->r14, .r15 = r->r15, .di = r->rdi,  .si = r->rsi,  .bp = r->rbp,     .bx = r->rbx,
        .dx = r->rdx,  .ax = r->rax,  .cx = r->rcx,  .sp = r->rsp,  .ip = r->rip,     .flags = r->eflags,
        .cs = 0x33,    .gs = 0,       .fs = 0,       .ss = 0x2b,    .fpstate = fpstate,
    };
    x86_resume(state, resume, &frame->context);
    x86_build_fpstate(state, (unsigned char *)bytes + (fpstate - at.value));
}

/* --------------------------------------------------------------- steps */

#define X86_DIRECTION_FLAG 0x400ULL /* clear, by the ABI, at a call */

/* No floating-point state: the kernel gives the step a fresh one. */
static void x86_build_step(const struct arch_state *state, const struct arch_step *step, struct address next,
                           const struct arch_places *places, void *bytes)
{
    struct x86_frame *frame = bytes;
    const uint64_t *a = step->arguments;

    memset(frame, 0, sizeof(*frame));
    x86_init_frame(frame, places);
    frame->uc_sigmask = arch_step_mask(state, step);
    frame->context = (struct x86_sigcontext){
        .di = a[0], .si = a[1], .dx = a[2], .r8 = a[4], .r9 = a[5], .sp = next.value, .cs = 0x33, .ss = 0x2b,
        .flags = x86_registers(state)->eflags & ~X86_DIRECTION_FLAG,
        .ip = step->is_syscall ? places->syscall.value : step->target,
        .ax = step->is_syscall ? step->target : 0,
        .cx = step->is_syscall ? 0 : a[3],
        .r10 = step->is_syscall ? a[3] : 0,
    };
}

/* `orig_rax` = -1 keeps the kernel from restarting the interrupted call. */
static struct error *x86_point_at_step(pid_t tid, const struct arch_state *state, const struct arch_step *step,
                                       struct address next, const struct arch_places *places)
{
    struct user_regs_struct r = *x86_registers(state);
    struct iovec vector = {&r, sizeof(r)};
    const uint64_t *a = step->arguments;

    r.rip = step->is_syscall ? places->syscall.value : step->target;
    r.rax = step->is_syscall ? step->target : 0;
    r.rdi = a[0], r.rsi = a[1], r.rdx = a[2], r.r8 = a[4], r.r9 = a[5];
    r.rcx = step->is_syscall ? r.rcx : a[3];
    r.r10 = step->is_syscall ? a[3] : r.r10;
    r.rsp = next.value;
    r.orig_rax = (unsigned long long)-1;
    r.eflags &= ~X86_DIRECTION_FLAG;
    if (ptrace(PTRACE_SETREGSET, tid, NT_PRSTATUS, &vector) < 0)
        return error_create_errno(ERROR_SYSTEM, errno, "can't set the registers of thread %d", tid);
    return NULL;
}

static const unsigned char x86_syscall_code[] = {0x0f, 0x05, 0xc3};
static const unsigned char x86_sigreturn_code[] = {0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05};

const struct arch arch_native = {
    .name = "x86-64",
    .elf_machine = EM_X86_64,
    .red_zone = 128,
    .syscall_length = 2,
    .syscall_code = {x86_syscall_code, sizeof(x86_syscall_code)},
    .sigreturn_code = {x86_sigreturn_code, sizeof(x86_sigreturn_code)},
    .nr = {.mmap = 9, .munmap = 11, .close = 3, .socketpair = 53, .memfd_create = 319, .clock_gettime = 228,
           .rt_sigsuspend = 130, .pause = 34},
    .prepare = x86_prepare,
    .read_state = x86_read_state,
    .stack_pointer = x86_stack_pointer,
    .instruction_pointer = x86_instruction_pointer,
    .thread_pointer = x86_thread_pointer,
    .number_registers = x86_number_registers,
    .dwarf_stack_pointer = 7,
    .follows_call = x86_follows_call,
    .blocked = x86_blocked,
    .frame_skew = 8,
    .frame_mask = offsetof(struct x86_frame, uc_sigmask),
    .frame_stack = offsetof(struct x86_frame, context.sp),
    .frame_size = x86_frame_size,
    .step_size = sizeof(struct x86_frame),
    .build_frame = x86_build_frame,
    .build_step = x86_build_step,
    .point_at_step = x86_point_at_step,
};

#endif
