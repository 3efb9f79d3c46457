// Feeds arbitrary bytes as an image to check, which holds no more memory than the file's size justifies, then to
// check with repair: one of leaks changes nothing that guests see, and one of everything nothing in a clean image
// that was closed cleanly.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/check.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>

#include "base/bytes.hpp"
#include "cluster_roles.hpp"
#include "heap_limit.hpp"
#include "qimg/image.hpp"
#include "qimg/storage.hpp"

using namespace qimg;

namespace {

constexpr std::uint64_t shown_bytes_max = 100000;

[[noreturn]] void fail(const char* what) {
    fmt::print(stderr, "does not hold: {}\n", what);
    std::abort();
}

std::unique_ptr<qcow2::Qcow2> open(Storage& file) {
    qcow2::Qcow2Options options;
    options.for_check = true;
    options.open_data_file = [](const std::optional<std::string>&) -> Result<std::unique_ptr<Storage>> {
        return memory_storage();
    };
    auto image = qcow2::Qcow2::open(borrow_storage(file), options);
    return image ? std::move(*image) : nullptr;
}

// The start of the disk, as far as it can be read.
std::optional<Bytes> shown(Storage& file) {
    auto format = open(file);
    if (format == nullptr) return std::nullopt;
    Bytes disk(std::min(format->size(), shown_bytes_max));
    const Image image("image", std::move(format), nullptr);
    if (!image.read(GuestOffset(0), disk)) return std::nullopt;
    return disk;
}

// Where guests see the tables themselves, they see each change of them.
bool has_plain_content(Storage& file) {
    const auto image = open(file);
    return image && fuzz::has_plain_roles(*image);
}

Bytes content_of(const Storage& file) {
    Bytes bytes(file.size().value_or(0));
    if (!file.read(HostOffset(0), bytes)) return {};
    return bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    auto file = memory_storage();
    if (!file->write(HostOffset(0), std::as_bytes(std::span(data, size)))) return 0;
    const Bytes before = content_of(*file);
    std::optional<CheckReport> found;
    bool is_marked = false;
    {
        const fuzz::HeapLimit limit(fuzz::heap_bytes_for(size));
        const auto image = open(*file);
        if (image == nullptr) return 0;
        is_marked = image->header().is(qcow2::disk::incompatible_dirty) ||
                    image->header().is(qcow2::disk::incompatible_corrupt);
        if (auto report = qcow2::check_image(*image, Repair::none, {}, no_progress()))
            found = std::move(*report);
    }
    if (content_of(*file) != before) fail("a check writes nothing");
    // with corruptions, what tables tell is not even bounded by the file
    const bool is_sound = found && found->corruptions == 0 && has_plain_content(*file);
    const auto disk = is_sound ? shown(*file) : std::nullopt;
    for (const Repair repair : {Repair::leaks, Repair::all}) {
        const auto image = open(*file);
        if (image == nullptr) fail("a repaired image can be opened");
        (void)qcow2::check_image(*image, repair, {}, no_progress());
        if (repair == Repair::leaks && disk && shown(*file) != disk)
            fail("leaks are nothing that guests see");
    }
    const bool is_clean =
        !is_marked && found && found->corruptions == 0 && found->leaks == 0 && found->check_errors == 0;
    if (is_clean && content_of(*file) != before) fail("a clean image stays as it is");
    return 0;
}
