// The rules of the filter; libseccomp makes the kernel's program of them, anew in every command that starts.
// SPDX-License-Identifier: Apache-2.0
#include "cli/qimg/sandbox.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <type_traits>

namespace qimg::cli {

namespace {

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
    // a further filter
    SYS_seccomp,
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

struct Release {
    void operator()(scmp_filter_ctx filter) const { ::seccomp_release(filter); }
};
using Filter = std::unique_ptr<std::remove_pointer_t<scmp_filter_ctx>, Release>;

// libseccomp leaves it to the kernel whether the rules can be had; each of these is false when they cannot.

bool allow(scmp_filter_ctx filter, int call) {
    return ::seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, call, 0, nullptr) == 0;
}

bool deny(scmp_filter_ctx filter, int call, std::uint16_t error) {
    return ::seccomp_rule_add_array(filter, SCMP_ACT_ERRNO(error), call, 0, nullptr) == 0;
}

// Allowed when the argument, under the mask, is one of the values.
bool allow_if(scmp_filter_ctx filter, int call, unsigned argument, std::uint32_t mask,
              std::initializer_list<std::uint32_t> values) {
    for (const std::uint32_t value : values) {
        const ::scmp_arg_cmp equal{argument, SCMP_CMP_MASKED_EQ, mask, value};
        if (::seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, call, 1, &equal) != 0) return false;
    }
    return true;
}

bool add_rules(scmp_filter_ctx filter) {
    for (const int call : allowed) {
        if (!allow(filter, call)) return false;
    }
    return allow_if(filter, SYS_mmap, 2, PROT_EXEC, {0}) &&
           allow_if(filter, SYS_mprotect, 2, PROT_EXEC, {0}) &&
           allow_if(filter, SYS_clone, 0, CLONE_THREAD, {CLONE_THREAD}) &&
           // its flags are behind a pointer, where a filter does not look; the C library then takes clone
           deny(filter, SYS_clone3, ENOSYS) &&
           allow_if(filter, SYS_ioctl, 1, ~0u, {TCGETS, TIOCGWINSZ, BLKGETSIZE64});
}

// Calls of another architecture have other numbers.
bool load(scmp_filter_ctx filter) {
    return ::seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(EPERM)) == 0 &&
           ::seccomp_load(filter) == 0;
}

bool give_up_rights(MayOpen files) {
    const Filter filter(::seccomp_init(SCMP_ACT_ERRNO(EPERM)));
    return filter != nullptr && add_rules(filter.get()) &&
           (files == MayOpen::nothing || allow_if(filter.get(), SYS_openat, 2, write_flags, {O_RDONLY})) &&
           load(filter.get());
}

// A further filter, which only takes from what the first one left. That one has seen to it that no program can
// bring rights with it, and does not let it be said again.
void give_up_opening() {
    const Filter filter(::seccomp_init(SCMP_ACT_ALLOW));
    static_cast<void>(filter != nullptr && deny(filter.get(), SYS_openat, EPERM) &&
                      ::seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_NNP, 0) == 0 && load(filter.get()));
}

bool is_wanted = true;
bool is_entered = false;

}  // namespace

void disable_sandbox() {
    is_wanted = false;
}

void enter_sandbox(MayOpen files) {
    if (!is_wanted) return;
    // without filters in the kernel the command does its work all the same
    if (!is_entered) {
        is_entered = give_up_rights(files);
    } else if (files == MayOpen::nothing) {
        give_up_opening();
    }
}

}  // namespace qimg::cli
