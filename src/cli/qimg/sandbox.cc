// The filter, in the terms of the kernel: it is short, and made anew by every command that starts.
// SPDX-License-Identifier: Apache-2.0
#include "cli/qimg/sandbox.hpp"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <vector>

namespace qimg::cli {

namespace {

#if defined(__x86_64__)
constexpr std::uint32_t architecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr std::uint32_t architecture = AUDIT_ARCH_AARCH64;
#else
constexpr std::uint32_t architecture = 0;
#endif

// What the standard library, threads and reading files need, the frequent ones first.
constexpr int allowed[] = {
    SYS_pread64,
    SYS_futex,
    SYS_lseek,
    SYS_fstat,
    SYS_read,
    SYS_write,
    SYS_close,
    SYS_munmap,
    SYS_brk,
    SYS_madvise,
    SYS_fcntl,
    SYS_newfstatat,
    SYS_readlinkat,
    SYS_faccessat,
    SYS_faccessat2,
    SYS_statx,
    SYS_mremap,
    SYS_readv,
    SYS_writev,
    SYS_preadv,
    SYS_fadvise64,
    SYS_exit,
    SYS_exit_group,
    SYS_set_robust_list,
    SYS_rseq,
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_sigaltstack,
    SYS_restart_syscall,
    SYS_getpid,
    SYS_gettid,
    SYS_tgkill,
    SYS_getrandom,
    SYS_clock_gettime,
    SYS_clock_nanosleep,
    SYS_sched_yield,
    SYS_sched_getaffinity,
    SYS_getcwd,
    SYS_getdents64,
    SYS_uname,
    SYS_sysinfo,
#if defined(__x86_64__)
    SYS_readlink,
    SYS_access,
    SYS_stat,
    SYS_lstat,
#endif
#if defined(__SANITIZE_ADDRESS__)
    // looking for leaks at the end is done by a process of its own
    SYS_clone,
    SYS_ptrace,
    SYS_wait4,
    SYS_prctl,
    SYS_prlimit64,
    SYS_tkill,
    SYS_getppid,
    SYS_process_vm_readv,
    // whether memory can be read is asked by writing it to a pipe
    SYS_pipe2,
#if defined(__x86_64__)
    SYS_pipe,
    SYS_open,
    SYS_getdents,
#endif
#endif
};

constexpr std::uint32_t write_flags = O_ACCMODE | O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY);

class Filter {
  public:
    Filter() {
        // calls of another architecture have other numbers
        load(offsetof(seccomp_data, arch));
        skip_unless(architecture, 1);
        add(BPF_JMP | BPF_JA, 1);
        answer(SECCOMP_RET_ERRNO | EPERM);
        load(offsetof(seccomp_data, nr));
    }

    void allow(int call) {
        skip_unless(static_cast<std::uint32_t>(call), 1);
        answer(SECCOMP_RET_ALLOW);
    }
    void deny(int call, std::uint32_t error) {
        skip_unless(static_cast<std::uint32_t>(call), 1);
        answer(SECCOMP_RET_ERRNO | error);
    }
    // Allowed when the argument, under the mask, is one of the values. Its upper 32 bits say nothing in the calls
    // that this is used for.
    void allow_if(int call, unsigned argument, std::uint32_t mask,
                  std::initializer_list<std::uint32_t> values) {
        const auto length = static_cast<std::uint8_t>(3 + 2 * values.size());
        skip_unless(static_cast<std::uint32_t>(call), length);
        load(offsetof(seccomp_data, args) + argument * sizeof(std::uint64_t));
        add(BPF_ALU | BPF_AND | BPF_K, mask);
        for (const std::uint32_t value : values) {
            skip_unless(value, 1);
            answer(SECCOMP_RET_ALLOW);
        }
        answer(SECCOMP_RET_ERRNO | EPERM);
    }

    // False where there is no such thing.
    bool install() {
        answer(SECCOMP_RET_ERRNO | EPERM);
        const ::sock_fprog program{static_cast<unsigned short>(program_.size()), program_.data()};
        return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
               ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0;
    }

  private:
    void add(unsigned code, std::uint32_t operand, std::uint8_t otherwise = 0) {
        program_.push_back({static_cast<std::uint16_t>(code), 0, otherwise, operand});
    }
    void load(std::size_t offset) { add(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset)); }
    void skip_unless(std::uint32_t value, std::uint8_t count) {
        add(BPF_JMP | BPF_JEQ | BPF_K, value, count);
    }
    void answer(std::uint32_t action) { add(BPF_RET | BPF_K, action); }

    std::vector<::sock_filter> program_;
};

bool is_wanted = true;

}  // namespace

void disable_sandbox() {
    is_wanted = false;
}

void enter_sandbox() {
    if (!is_wanted || architecture == 0) return;
    Filter filter;
    for (const int call : allowed)
        filter.allow(call);
    filter.allow_if(SYS_openat, 2, write_flags, {O_RDONLY});
    filter.allow_if(SYS_mmap, 2, PROT_EXEC, {0});
    filter.allow_if(SYS_mprotect, 2, PROT_EXEC, {0});
    filter.allow_if(SYS_clone, 0, CLONE_THREAD, {CLONE_THREAD});
    // its flags are behind a pointer, where a filter does not look; the C library then takes clone
    filter.deny(SYS_clone3, ENOSYS);
    filter.allow_if(SYS_ioctl, 1, ~0u, {TCGETS, TIOCGWINSZ, BLKGETSIZE64});
    // without filters in the kernel the command does its work all the same
    static_cast<void>(filter.install());
}

}  // namespace qimg::cli
