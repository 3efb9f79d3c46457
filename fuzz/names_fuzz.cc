// What command lines hold: sizes, option lists, image names in all of QEMU's forms, configuration files of
// blkdebug. A size that is taken means the same when it is said again; a fault that was asked for strikes.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/bytes.hpp"
#include "cli/qimg/blkdebug.hpp"
#include "cli/qimg/create_options.hpp"
#include "cli/qimg/image_name.hpp"
#include "qimg/size_text.hpp"
#include "qimg/storage.hpp"
#include "storage/faults.hpp"

using namespace qimg;

namespace {

void expect(bool holds, const char* what) {
    if (holds) return;
    fmt::print(stderr, "does not hold: {}\n", what);
    std::abort();
}

void read_sizes(const std::string& text) {
    if (const auto bytes = parse_size(text)) {
        expect(parse_size(fmt::format("{}", *bytes)).value_or(~*bytes) == *bytes, "a size in plain digits");
        expect(parse_size(fmt::format("{:#x}", *bytes)).value_or(~*bytes) == *bytes, "a size in hexadecimal");
        expect(!format_size(*bytes).empty(), "a size for people");
    }
    const auto change = parse_size_change(text);
    if (!change) return;
    for (const std::uint64_t current : {std::uint64_t{0}, std::uint64_t{1} << 40, ~std::uint64_t{0}}) {
        const auto size = change->apply(current);
        expect(!size || *size >> 63 == 0, "a size below 2^63");
    }
}

void read_options(const std::string& text) {
    cli::OptionList list;
    if (!list.add(text)) return;
    (void)cli::parse_amendment(list);
    for (const char* format : {"qcow2", "raw"}) {
        if (list.wants_help()) cli::print_creation_help(format, true);
        const auto options = cli::CreationOptions::parse(format, list);
        if (!options) continue;
        (void)options->formatting_line("image");
        (void)options->resolve("image");
    }
}

void read_names(const std::string& text) {
    // a configuration file would be read from wherever the text says
    if (text.find("config") != text.npos || text.find("blkdebug:") != text.npos) return;
    (void)cli::location_of_name(text);
    for (const auto& members : {cli::members_of_json(text), cli::members_of_options(text)}) {
        if (members) (void)cli::location_of_members(*members, "image");
    }
}

// Each fault strikes where it was asked for, and says why.
void strike(const std::vector<Fault>& faults) {
    for (const Fault& fault : faults) {
        const auto file = faulty_storage(memory_storage(), {fault});
        const HostOffset at(fault.offset.value_or(0));
        Bytes sector(sector_bytes);
        const Result<void> done = fault.operation == Fault::Operation::read    ? file->read(at, sector)
                                  : fault.operation == Fault::Operation::write ? file->write(at, sector)
                                  : fault.operation == Fault::Operation::flush ? file->flush()
                                                                               : Result<void>();
        const bool touches_nothing = fault.operation == Fault::Operation::block_status ||
                                     (fault.operation == Fault::Operation::flush && fault.offset);
        if (touches_nothing) continue;
        expect(!done && done.error().system_errno == fault.error_number, "a fault strikes");
        expect(!done.error().message.empty(), "a fault says why");
    }
}

void read_config(const std::string& text) {
    const int file = ::memfd_create("config", MFD_CLOEXEC);
    if (file < 0) return;
    if (::write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size())) {
        Assembly assembly;
        const std::string path = fmt::format("/proc/self/fd/{}", file);
        (void)cli::read_blkdebug_config(path, cli::BlkdebugPlace::under_format, assembly);
        (void)cli::read_blkdebug_config(path, cli::BlkdebugPlace::over_format, assembly);
        strike(assembly.file_faults);
        // nothing lies below a file
        expect(!cli::read_blkdebug_config(path + "/config", cli::BlkdebugPlace::over_format, assembly),
               "a file that is not there is not read");
    }
    ::close(file);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string text(data, data + size);
    read_sizes(text);
    read_options(text);
    read_names(text);
    read_config(text);
    return 0;
}
