// Runs a few instructions under KVM, in a child process because a broken KVM may never come back.
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <span>

#include "base/fd.hpp"
#include "vm/kvm.hpp"

namespace qimg::vm {

#if defined(__x86_64__)

namespace {

constexpr std::uint64_t memory_bytes = 2 << 20;  // one large page
constexpr std::uint64_t page_map = 0x2000;       // page tables of the three upper levels
constexpr std::uint64_t page_pointers = 0x3000;
constexpr std::uint64_t page_directory = 0x4000;
constexpr std::uint64_t code_at = 0x8000;
constexpr std::uint64_t stack_top = 0x10000;
constexpr std::uint16_t serial_port = 0x3f8;
constexpr int rounds = 64;
constexpr int probe_milliseconds = 2000;

// 64 rounds of CPUID, RDMSR of EFER, a reload of CR3, a store and an OUT; then HLT.
constexpr std::uint8_t guest_code[] = {
    0xbe, rounds, 0x00, 0x00, 0x00,              // mov esi, rounds
    0x31, 0xc0,                                  // next: xor eax, eax
    0x0f, 0xa2,                                  // cpuid
    0xb9, 0x80,   0x00, 0x00, 0xc0,              // mov ecx, 0xc0000080
    0x0f, 0x32,                                  // rdmsr
    0x0f, 0x20,   0xd8,                          // mov rax, cr3
    0x0f, 0x22,   0xd8,                          // mov cr3, rax
    0x89, 0x34,   0x25, 0x00, 0x90, 0x00, 0x00,  // mov [0x9000], esi
    0x66, 0xba,   0xf8, 0x03,                    // mov dx, 0x3f8
    0x89, 0xf0,                                  // mov eax, esi
    0xee,                                        // out dx, al
    0xff, 0xce,                                  // dec esi
    0x75, 0xdd,                                  // jnz next
    0xf4,                                        // hlt
};

void put64(std::span<std::uint8_t> memory, std::uint64_t at, std::uint64_t value) {
    std::memcpy(memory.subspan(at).data(), &value, sizeof value);
}

bool set_long_mode(int vcpu) {
    struct kvm_sregs special;
    if (::ioctl(vcpu, KVM_GET_SREGS, &special) != 0) return false;
    struct kvm_segment code = {};
    code.limit = 0xffffffff;
    code.selector = 0x8;
    code.type = 11;  // execute, read, accessed
    code.present = 1;
    code.s = 1;
    code.l = 1;
    code.g = 1;
    struct kvm_segment data = code;
    data.selector = 0x10;
    data.type = 3;  // read, write, accessed
    data.l = 0;
    data.db = 1;
    special.cs = code;
    special.ds = special.es = special.fs = special.gs = special.ss = data;
    special.cr3 = page_map;
    special.cr4 = 0x20;        // PAE
    special.cr0 = 0x80000033;  // PG, NE, ET, MP, PE
    special.efer = 0x500;      // LMA, LME
    if (::ioctl(vcpu, KVM_SET_SREGS, &special) != 0) return false;
    struct kvm_regs general = {};
    general.rip = code_at;
    general.rsp = stack_top;
    general.rflags = 0x2;
    return ::ioctl(vcpu, KVM_SET_REGS, &general) == 0;
}

// struct kvm_cpuid2 with room behind it. In C++ the kernel's own declaration has another size, because the
// empty struct in its flexible array takes a byte there, and with the size the ioctl's number changes.
struct CpuidTable {
    std::uint32_t entries = 256;
    std::uint32_t padding = 0;
    struct kvm_cpuid_entry2 entry[256] = {};
};
struct CpuidHead {
    std::uint32_t entries;
    std::uint32_t padding;
};
constexpr unsigned long get_supported_cpuid = _IOWR(KVMIO, 0x05, CpuidHead);
constexpr unsigned long set_cpuid = _IOW(KVMIO, 0x90, CpuidHead);

// The processor answers CPUID as the host's does.
bool copy_cpuid(int kvm, int vcpu) {
    CpuidTable table;
    return ::ioctl(kvm, get_supported_cpuid, &table) == 0 && ::ioctl(vcpu, set_cpuid, &table) == 0;
}

bool run_rounds(int vcpu, const struct kvm_run& run) {
    int outputs = 0;
    for (int exits = 0; exits < 10 * rounds; ++exits) {
        if (::ioctl(vcpu, KVM_RUN, 0) != 0) return false;
        if (run.exit_reason == KVM_EXIT_HLT) return outputs == rounds;
        if (run.exit_reason != KVM_EXIT_IO || run.io.port != serial_port) return false;
        ++outputs;
    }
    return false;
}

bool run_guest() {
    const Fd kvm(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
    if (!kvm || ::ioctl(kvm.get(), KVM_GET_API_VERSION, 0) != KVM_API_VERSION) return false;
    const Fd machine(::ioctl(kvm.get(), KVM_CREATE_VM, 0));
    void* const mapped =
        ::mmap(nullptr, memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!machine || mapped == MAP_FAILED) return false;
    const std::span<std::uint8_t> memory(static_cast<std::uint8_t*>(mapped), memory_bytes);
    put64(memory, page_map, page_pointers | 3);  // present, writable
    put64(memory, page_pointers, page_directory | 3);
    put64(memory, page_directory, 0x83);  // the first 2 MiB, as one page
    std::memcpy(memory.subspan(code_at).data(), guest_code, sizeof guest_code);

    struct kvm_userspace_memory_region region = {};
    region.memory_size = memory_bytes;
    std::memcpy(&region.userspace_addr, &mapped, sizeof mapped);
    if (::ioctl(machine.get(), KVM_SET_USER_MEMORY_REGION, &region) != 0) return false;
    const Fd vcpu(::ioctl(machine.get(), KVM_CREATE_VCPU, 0));
    const int run_bytes = ::ioctl(kvm.get(), KVM_GET_VCPU_MMAP_SIZE, 0);
    if (!vcpu || run_bytes < static_cast<int>(sizeof(struct kvm_run))) return false;
    void* const run = ::mmap(nullptr, static_cast<std::size_t>(run_bytes), PROT_READ | PROT_WRITE, MAP_SHARED,
                             vcpu.get(), 0);
    if (run == MAP_FAILED || !copy_cpuid(kvm.get(), vcpu.get()) || !set_long_mode(vcpu.get())) return false;
    return run_rounds(vcpu.get(), *static_cast<const struct kvm_run*>(run)) && memory[0x9000] == 1;
}

}  // namespace

bool kvm_probe() {
    const pid_t child = ::fork();
    if (child < 0) return false;
    if (child == 0) ::_exit(run_guest() ? 0 : 1);
    int status = 0;
    for (int waited = 0; waited < probe_milliseconds; waited += 5) {
        const pid_t ended = ::waitpid(child, &status, WNOHANG);
        if (ended == child) return WIFEXITED(status) && WEXITSTATUS(status) == 0;
        if (ended < 0 && errno != EINTR) return false;
        ::poll(nullptr, 0, 5);
    }
    ::kill(child, SIGKILL);
    ::waitpid(child, &status, 0);
    return false;
}

#else

bool kvm_probe() {
    const Fd kvm(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
    return static_cast<bool>(kvm);
}

#endif

}  // namespace qimg::vm
