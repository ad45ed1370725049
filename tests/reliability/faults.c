/* Faults at the n-th system call that changes something under a folder: the process is killed there, or the call fails.
 *
 * A seccomp filter hands every such call of this process, whichever library makes it and on whichever thread, to a handler
 * of SIGSYS. (Putting other functions before libc's, with LD_PRELOAD, would miss what libc's own streams write, which is
 * how FAISS writes, and whoever makes system calls directly.) The handler makes the call itself, through the one
 * instruction that the filter lets pass.
 *
 * Belongs here: counting, killing, failing. Not here: which store, which points, and what must hold after (crashes.py).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

enum { COUNT, KILL, FULL, BROKEN };

/* What a call is given. FD: of an open file. PATH: a path, PATH_AT: a folder and a path; TWO, TWO_AT: two of them. */
enum shape { FD, PATH, PATH_AT, TWO, TWO_AT, LINK_TO, LINK_TO_AT };

struct call {
    long number;
    const char *name;
    enum shape shape;
    int allocates; /* Fails where a disk is full. */
    int creates;   /* Counts only with O_CREAT in this argument, from 1. */
};

static const struct call CALLS[] = {
    {SYS_write, "write", FD, 1, 0},
    {SYS_pwrite64, "pwrite", FD, 1, 0},
    {SYS_writev, "writev", FD, 1, 0},
    {SYS_pwritev, "pwritev", FD, 1, 0},
    {SYS_pwritev2, "pwritev2", FD, 1, 0},
    {SYS_sendfile, "sendfile", FD, 1, 0},
    {SYS_copy_file_range, "copy_file_range", FD, 1, 0},
    {SYS_fallocate, "fallocate", FD, 1, 0},
    {SYS_ftruncate, "ftruncate", FD, 1, 0},
    {SYS_fsync, "fsync", FD, 0, 0},
    {SYS_fdatasync, "fdatasync", FD, 0, 0},
    {SYS_fchmod, "fchmod", FD, 0, 0},
    {SYS_openat, "open", PATH_AT, 1, 3},
    {SYS_mkdirat, "mkdir", PATH_AT, 1, 0},
    {SYS_unlinkat, "unlink", PATH_AT, 0, 0},
    {SYS_symlinkat, "symlink", LINK_TO_AT, 1, 0},
    {SYS_linkat, "link", TWO_AT, 1, 0},
    {SYS_renameat2, "rename", TWO_AT, 1, 0},
    {SYS_truncate, "truncate", PATH, 1, 0},
    {SYS_utimensat, "utimens", PATH_AT, 0, 0},
    {SYS_fchmodat, "chmod", PATH_AT, 0, 0},
#ifdef SYS_renameat
    {SYS_renameat, "rename", TWO_AT, 1, 0},
#endif
#ifdef SYS_open
    {SYS_open, "open", PATH, 1, 2},
    {SYS_creat, "open", PATH, 1, 0},
    {SYS_mkdir, "mkdir", PATH, 1, 0},
    {SYS_rmdir, "rmdir", PATH, 0, 0},
    {SYS_unlink, "unlink", PATH, 0, 0},
    {SYS_symlink, "symlink", LINK_TO, 1, 0},
    {SYS_link, "link", TWO, 1, 0},
    {SYS_rename, "rename", TWO, 1, 0},
    {SYS_chmod, "chmod", PATH, 0, 0},
#endif
};
#define CALL_COUNT ((int)(sizeof CALLS / sizeof CALLS[0]))

/* One system call from one known place: the filter lets pass what returns to `pass_end`. */
long pass(long number, const long *a);
extern const char pass_end[];
#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
__asm__(".text\n.globl pass\n.type pass,@function\npass:\n"
        "push %rbx\nmov %rsi,%rbx\nmov %rdi,%rax\n"
        "mov 0(%rbx),%rdi\nmov 8(%rbx),%rsi\nmov 16(%rbx),%rdx\nmov 24(%rbx),%r10\nmov 32(%rbx),%r8\nmov 40(%rbx),%r9\n"
        "syscall\n.globl pass_end\npass_end:\npop %rbx\nret\n");
#define NUMBER(context) ((long)(context)->uc_mcontext.gregs[REG_RAX])
#define RESULT(context) ((context)->uc_mcontext.gregs[REG_RAX])
static void arguments(const ucontext_t *context, long *a) {
    static const int registers[6] = {REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8, REG_R9};
    for (int i = 0; i < 6; i++) a[i] = (long)context->uc_mcontext.gregs[registers[i]];
}
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
__asm__(".text\n.globl pass\n.type pass,%function\npass:\n"
        "mov x8,x0\nmov x9,x1\nldp x0,x1,[x9]\nldp x2,x3,[x9,16]\nldp x4,x5,[x9,32]\n"
        "svc 0\n.globl pass_end\npass_end:\nret\n");
#define NUMBER(context) ((long)(context)->uc_mcontext.regs[8])
#define RESULT(context) ((context)->uc_mcontext.regs[0])
static void arguments(const ucontext_t *context, long *a) {
    for (int i = 0; i < 6; i++) a[i] = (long)context->uc_mcontext.regs[i];
}
#else
#error "this processor is not known here"
#endif

static char prefix[4096];
static size_t prefix_length;
static atomic_long counted;
static atomic_int disk_is_full;
static long at;
static int action;
static int report = -1;

static long path_of(int descriptor, char *out, size_t size) {
    char link[40] = "/proc/self/fd/";
    char digits[12];
    int n = 0, i = 14;
    if (descriptor < 0) return -1;
    do digits[n++] = (char)('0' + descriptor % 10); while ((descriptor /= 10) > 0);
    while (n) link[i++] = digits[--n];
    link[i] = 0;
    long a[6] = {AT_FDCWD, (long)link, (long)out, (long)size - 1, 0, 0};
    long length = pass(SYS_readlinkat, a);
    if (length >= 0) out[length] = 0;
    return length;
}

static int below(const char *path) { return strncmp(path, prefix, prefix_length) == 0; }

static int folder_and_path_below(int folder, const char *path) {
    char resolved[4096];
    if (path == NULL) return path_of(folder, resolved, sizeof resolved) > 0 && below(resolved);
    if (path[0] == '/') return below(path);
    return folder != AT_FDCWD && path_of(folder, resolved, sizeof resolved) > 0 && below(resolved);
}

static int concerns(const struct call *call, const long *a) {
    if (call->creates && !(a[call->creates - 1] & O_CREAT)) return 0;
    switch (call->shape) {
    case FD: return folder_and_path_below((int)(call->number == SYS_copy_file_range ? a[2] : a[0]), NULL);
    case PATH: return folder_and_path_below(AT_FDCWD, (const char *)a[0]);
    case PATH_AT: return folder_and_path_below((int)a[0], (const char *)a[1]);
    case TWO: return folder_and_path_below(AT_FDCWD, (const char *)a[0]) || folder_and_path_below(AT_FDCWD, (const char *)a[1]);
    case TWO_AT: return folder_and_path_below((int)a[0], (const char *)a[1]) || folder_and_path_below((int)a[2], (const char *)a[3]);
    case LINK_TO: return folder_and_path_below(AT_FDCWD, (const char *)a[1]);
    case LINK_TO_AT: return folder_and_path_below((int)a[1], (const char *)a[2]);
    }
    return 0;
}

/* Half of a write, as a process does that dies in the middle, or for which the disk has no more room. */
static long half(const struct call *call, const long *a) {
    long b[6];
    memcpy(b, a, sizeof b);
    if (call->number == SYS_write || call->number == SYS_pwrite64) {
        if (b[2] < 2) return -ENOSPC;
        b[2] /= 2;
        return pass(call->number, b);
    }
    if (call->number == SYS_writev && b[2] > 0) {
        const struct iovec *first = (const struct iovec *)b[1];
        long c[6] = {b[0], (long)first->iov_base, (long)(first->iov_len / 2), 0, 0, 0};
        return c[2] ? pass(SYS_write, c) : -ENOSPC;
    }
    return -ENOSPC;
}

static size_t add_path(char *text, size_t n, int folder, const char *path) {
    if (path == NULL || (path[0] != '/' && folder != AT_FDCWD)) {
        long length = path_of(folder, text + n, 4096);
        if (length > 0) n += (size_t)length;
        if (path == NULL) return n;
        text[n++] = '/';
    }
    size_t length = strnlen(path, 4095);
    memcpy(text + n, path, length);
    return n + length;
}

/* One line: the name of the call, and what it is about, after tabs. */
static void tell(const struct call *call, const long *a) {
    char text[64 + 4 * 4096];
    size_t n = strlen(call->name);
    if (report < 0) return;
    memcpy(text, call->name, n);
    text[n++] = '\t';
    switch (call->shape) {
    case FD: n = add_path(text, n, (int)(call->number == SYS_copy_file_range ? a[2] : a[0]), NULL); break;
    case PATH: n = add_path(text, n, AT_FDCWD, (const char *)a[0]); break;
    case PATH_AT: n = add_path(text, n, (int)a[0], (const char *)a[1]); break;
    case LINK_TO: n = add_path(text, n, AT_FDCWD, (const char *)a[1]); break;
    case LINK_TO_AT: n = add_path(text, n, (int)a[1], (const char *)a[2]); break;
    case TWO:
        n = add_path(text, n, AT_FDCWD, (const char *)a[0]);
        text[n++] = '\t';
        n = add_path(text, n, AT_FDCWD, (const char *)a[1]);
        break;
    case TWO_AT:
        n = add_path(text, n, (int)a[0], (const char *)a[1]);
        text[n++] = '\t';
        n = add_path(text, n, (int)a[2], (const char *)a[3]);
        break;
    }
    text[n++] = '\n';
    long b[6] = {report, (long)text, (long)n, 0, 0, 0};
    pass(SYS_write, b);
}

static void die(void) {
    long none[6] = {0}, a[6] = {0};
    a[0] = pass(SYS_getpid, none);
    a[1] = SIGKILL;
    pass(SYS_kill, a);
    for (;;) pass(SYS_getpid, none);
}

/* A file that is there already needs no room to be opened. */
static int is_there(const struct call *call, const long *a) {
    long b[6] = {AT_FDCWD, a[0], F_OK, 0, 0, 0};
    if (call->shape == PATH_AT) b[0] = a[0], b[1] = a[1];
    return call->creates && pass(SYS_faccessat, b) == 0;
}

static long decide(const struct call *call, const long *a) {
    int waits = call->number == SYS_fsync || call->number == SYS_fdatasync;
    if (concerns(call, a)) {
        long now = atomic_fetch_add(&counted, 1) + 1;
        if (action == COUNT) tell(call, a);
        if (now == at && action != COUNT) {
            tell(call, a);
            /* Every second death in a write comes after half of it. */
            if (action == KILL && now % 2) half(call, a);
            if (action == KILL) die();
            if (action == BROKEN) return -EIO;
        }
        if (action == FULL && now >= at && call->allocates && !is_there(call, a)) {
            if (atomic_exchange(&disk_is_full, 1)) return -ENOSPC;
            return half(call, a);
        }
        /* What the kernel has, a killed process does not lose: waiting for the disk would show nothing here. */
        if (waits) return 0;
    }
    return pass(call->number, a);
}

static void handle(int signal, siginfo_t *info, void *given) {
    ucontext_t *context = given;
    long a[6], number = NUMBER(context), result = -ENOSYS;
    int kept = errno;
    (void)signal;
    (void)info;
    arguments(context, a);
    for (int i = 0; i < CALL_COUNT; i++)
        if (CALLS[i].number == number) {
            result = decide(&CALLS[i], a);
            break;
        }
    RESULT(context) = (unsigned long)result;
    errno = kept;
}

/* From now on, in this process and what it forks: 0, or what failed. `report_to` is a descriptor that the call at the chosen
 * point is told to (every call, when only counting), or -1. */
int arm(const char *folder, long point, int what, int report_to) {
    struct sigaction on = {0};
    struct sock_filter filter[CALL_COUNT + 16];
    uintptr_t end = (uintptr_t)pass_end;
    int n = 0;
    prefix_length = strlen(folder);
    if (prefix_length + 1 > sizeof prefix) return ENAMETOOLONG;
    memcpy(prefix, folder, prefix_length + 1);
    at = point;
    action = what;
    report = report_to;
    on.sa_sigaction = handle;
    on.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
    if (sigaction(SIGSYS, &on, NULL)) return errno;
#define LOAD(field) filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define WHEN(value, yes, no) filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(value), yes, no)
    LOAD(arch);
    WHEN(ARCHITECTURE, 1, 0);
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    LOAD(instruction_pointer);
    WHEN(end, 0, 3);
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer) + 4);
    WHEN((uint64_t)end >> 32, 0, 1);
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    LOAD(nr);
    for (int i = 0; i < CALL_COUNT; i++) WHEN(CALLS[i].number, CALL_COUNT - i, 0);
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
    struct sock_fprog program = {(unsigned short)n, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return errno;
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program)) return errno;
    return 0;
}

long count(void) { return atomic_load(&counted); }
