// The checks before a sandbox is made, each with its remedy.
// SPDX-License-Identifier: Apache-2.0
#include "vm/preflight.hpp"

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "base/text.hpp"
#include "base/try.hpp"
#include "qimg/operations/info.hpp"
#include "qimg/operations/pins.hpp"
#include "qimg/trust.hpp"

namespace qimg::vm {

namespace {

namespace fs = std::filesystem;

constexpr const char* network_default = "default";

// QEMU would follow any name, and hand the file to the guest; our own overlays name what was checked.
CautiousOpener careful_opener(const std::string& base, const std::string& own_folder) {
    return CautiousOpener([=](const std::string& named_by, const std::string& risk) -> Result<void> {
        if (is_below(named_by, own_folder)) return {};
        return failf(ErrorKind::unsafe,
                     "{}; if that is right, make one image of both: 'qimg --trust convert -O qcow2 {} NEW'",
                     risk, printable(base));
    });
}

Result<std::vector<ImageInfo>> open_chain(const std::string& base, const std::optional<std::string>& format,
                                          const std::string& own_folder) {
    InfoOptions options{.path = base, .open = {}, .backing_chain = true};
    options.open.format = format;
    CautiousOpener opener = careful_opener(base, own_folder);
    auto chain = info(options, opener);
    if (!chain && chain.error().kind == ErrorKind::in_use) {
        return failf(
            ErrorKind::in_use,
            "{}: in use: a running virtual machine or another program writes to it or to an image below "
            "it; shut that down, or use a copy",
            printable(base));
    }
    if (!chain && chain.error().kind == ErrorKind::not_found && ::access(base.c_str(), F_OK) != 0) {
        return failf(ErrorKind::not_found,
                     "{}: no such file; the base must be the path of a disk image on this machine",
                     printable(base));
    }
    return chain;
}

Result<std::vector<PinReport>> pins_of(const std::string& image, const std::optional<std::string>& format,
                                       const std::string& own_folder) {
    PinsOptions options{.path = image, .open = {}, .content = false};
    options.open.format = format;
    options.open.locking = Locking::share;  // who uses the images is asked elsewhere
    CautiousOpener opener = careful_opener(image, own_folder);
    return check_pins(options, opener);
}

// Whoever may change a base can change, or break, every sandbox on it.
void warn_of_writers(const std::string& path, const FileUser& qemu, std::vector<std::string>& warnings) {
    struct stat status;
    if (::stat(path.c_str(), &status) != 0) return;
    const bool trusted_owner =
        status.st_uid == 0 || status.st_uid == ::geteuid() || status.st_uid == qemu.uid;
    if (trusted_owner && (status.st_mode & 0002) == 0) return;
    warnings.push_back(
        fmt::format("{}: {} may change this image, which would damage the sandbox on it", printable(path),
                    trusted_owner ? "every user" : fmt::format("its owner (uid {})", status.st_uid)));
}

}  // namespace

FileUser qemu_file_user(const HostFacts& host) {
    if (host.qemu_user) return file_user(host.qemu_user->uid, host.qemu_user->gid);
    return file_user(::geteuid(), ::getegid());
}

Result<void> check_base(const std::string& base, const std::optional<std::string>& format,
                        const std::string& own_folder, const FileUser& user,
                        std::vector<std::string>& warnings) {
    const auto chain = TRY(open_chain(base, format, own_folder));
    for (const ImageInfo& image : chain) {
        if (printable(image.path) != image.path) {
            return failf(ErrorKind::unsupported,
                         "{}: libvirt cannot name a file with these characters; rename it",
                         printable(image.path));
        }
        if (image.backing_file && !image.backing_format) {
            return failf(
                ErrorKind::unsupported,
                "{}: does not say which format its backing file {} has, and libvirt refuses to guess; "
                "record it with 'qimg rebase -u -b {} -F FORMAT {}'",
                printable(image.path), printable(*image.backing_file), printable(*image.backing_file),
                printable(image.path));
        }
        std::error_code problem;
        const std::string absolute = fs::absolute(image.path, problem);
        TRY(check_access(absolute, FileNeed::read, user));
        warn_of_writers(absolute, user, warnings);
    }
    return {};
}

Result<void> check_unchanged(const std::string& image, const std::optional<std::string>& format,
                             const std::string& own_folder, const std::string& sandbox) {
    const auto pins = TRY(pins_of(image, format, own_folder));
    for (const PinReport& pin : pins) {
        if (pin.state != PinState::changed) continue;
        const bool is_its_own = !sandbox.empty() && pin.overlay == image;
        const std::string way_out =
            is_its_own
                ? fmt::format("begin anew on the base as it is now with 'vmbox reset {}', or ", sandbox)
                : std::string();
        return failf(ErrorKind::unsafe, "{}: its guest would find neither the old disk nor the new one; {}{}",
                     describe_change(pin), way_out, advice_on_change(pin));
    }
    return {};
}

void warn_of_changed_base(const std::string& disk, const std::string& own_folder,
                          std::vector<std::string>& warnings) {
    const auto pins = pins_of(disk, "qcow2", own_folder);
    if (!pins || pins->empty() || pins->front().state != PinState::changed) return;
    warnings.push_back(describe_change(pins->front()) + "; the sandbox is made new on it as it is now");
}

Result<void> check_domain_name(const Hypervisor& hypervisor, const std::string& name) {
    const auto found = TRY(hypervisor.find_by_name(name));
    if (!found) return {};
    const auto status = found->status();
    return failf(
        ErrorKind::exists,
        "{}: {} has a domain of that name already ({}), which is not this sandbox's; choose another name",
        name, printable(hypervisor.uri()), status ? status->text : "its state is not known");
}

Result<std::string> decide_network(const Hypervisor& hypervisor, const Machine& machine) {
    std::string network = machine.network;
    if (network.empty()) {
        const bool shared = is_system(hypervisor.uri()) && machine.forwards.empty();
        network = shared && hypervisor.network_is_active(network_default) ? network_default : "user";
    }
    if (!machine.forwards.empty() && network != "user") {
        return failf(
            ErrorKind::invalid_argument,
            "network {}: ports are forwarded only with the network 'user'; the guest's own address can be "
            "reached on the others",
            printable(network));
    }
    if (network == "user" || network == "none" || hypervisor.network_is_active(network)) return network;
    return failf(ErrorKind::not_found,
                 "network {}: not active on {}; start it with 'virsh net-start {}', or use --network user",
                 printable(network), printable(hypervisor.uri()), printable(network));
}

Result<void> check_space(const std::string& folder, std::uint64_t bytes) {
    fs::path existing = folder;
    std::error_code problem;
    while (existing.has_relative_path() && !fs::exists(existing, problem))
        existing = existing.parent_path();
    struct statvfs space;
    if (::statvfs(existing.c_str(), &space) != 0)
        return fail_errno(errno, folder, "cannot tell the free space");
    const std::uint64_t free_bytes = static_cast<std::uint64_t>(space.f_bavail) * space.f_frsize;
    if (free_bytes >= bytes) return {};
    return failf(ErrorKind::no_space, "{}: {} are free, the sandbox's files need {} to begin with",
                 printable(folder), format_size(free_bytes), format_size(bytes));
}

}  // namespace qimg::vm
