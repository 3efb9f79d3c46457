// Reads arbitrary bytes as a qcow2 image with two readers, ours and the one that was written from the
// specification alone: both refuse, or every guest cluster is the same kind of thing with the same bytes.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "base/bytes.hpp"
#include "format/qcow2/qcow2.hpp"
#include "qimg/image.hpp"
#include "reference_reader.hpp"

using namespace qimg;
using fuzz::ReferenceKind;
using fuzz::ReferenceReader;
using fuzz::ReferenceUnit;

namespace {

constexpr std::size_t data_file_bytes = 100000;
// Work on one input: runs of clusters looked at, and units compared in each.
constexpr unsigned runs_max = 2000;
constexpr std::uint64_t units_max = 64;

[[noreturn]] void differ(std::string_view what, std::uint64_t guest) {
    fmt::print(stderr, "the readers differ: {} (guest offset {:#x})\n", what, guest);
    std::abort();
}

const std::vector<std::uint8_t>& data_file() {
    static const std::vector<std::uint8_t> content = [] {
        std::vector<std::uint8_t> bytes(data_file_bytes);
        for (std::size_t i = 0; i < bytes.size(); ++i)
            bytes[i] = static_cast<std::uint8_t>(i * 7 + i / 512);
        return bytes;
    }();
    return content;
}

std::unique_ptr<Storage> storage_with(std::span<const std::uint8_t> bytes) {
    auto storage = memory_storage();
    if (!storage->write(HostOffset(0), std::as_bytes(bytes))) return nullptr;
    return storage;
}

// Bitmaps, of which the reference reader knows nothing, are declared stale.
std::vector<std::uint8_t> without_bitmaps(std::span<const std::uint8_t> bytes) {
    std::vector<std::uint8_t> file(bytes.begin(), bytes.end());
    if (file.size() >= sizeof(qcow2::disk::Header) && file[7] == 3)
        file[offsetof(qcow2::disk::Header, refcount_order) - 1] &= 0xfe;
    return file;
}

std::unique_ptr<qcow2::Qcow2> open_ours(std::span<const std::uint8_t> file) {
    qcow2::Qcow2Options options;
    options.for_check = true;  // whatever the snapshot table is like
    options.open_data_file = [](const std::optional<std::string>&) -> Result<std::unique_ptr<Storage>> {
        return storage_with(data_file());
    };
    auto opened = qcow2::Qcow2::open(storage_with(file), options);
    return opened ? std::move(*opened) : nullptr;
}

bool is_same_kind(MappingKind ours, ReferenceKind reference) {
    switch (ours) {
        case MappingKind::unallocated:
            return reference == ReferenceKind::unallocated;
        case MappingKind::zeroes:
            return reference == ReferenceKind::zero;
        case MappingKind::data:
        case MappingKind::compressed:
            return reference == ReferenceKind::data;
    }
    return false;
}

class Comparison {
  public:
    Comparison(std::unique_ptr<qcow2::Qcow2> ours, const ReferenceReader& reference)
        : reference_(reference), image_("image", std::move(ours), nullptr) {}

    void run() {
        const std::uint64_t end = image_.size();
        std::uint64_t at = 0;
        for (unsigned runs = 0; at < end && runs < runs_max; ++runs) {
            const auto mapping = image_.format().map(GuestRange::between(GuestOffset(at), GuestOffset(end)));
            if (mapping && mapping->range.empty()) differ("an empty run", at);
            if (!mapping) {
                expect_refusal(at);
                at = std::min(end, at + reference_.unit_bytes());
                continue;
            }
            compare_run(*mapping);
            at = mapping->range.end().bytes;
        }
    }

  private:
    void expect_refusal(std::uint64_t at) {
        if (reference_.read(at).kind != ReferenceKind::refused) differ("only ours refuses", at);
    }

    void compare_run(const Mapping& mapping) {
        const std::uint64_t unit = reference_.unit_bytes();
        const std::uint64_t count = divide_up(mapping.range.length, unit);
        // of many, some: near both ends and here and there between them
        const std::uint64_t step = std::max<std::uint64_t>(1, count / units_max);
        for (std::uint64_t i = 0; i < count; i += step)
            compare_unit(mapping, mapping.range.start.bytes + i * unit);
        compare_unit(mapping, mapping.range.start.bytes + (count - 1) * unit);
    }

    void compare_unit(const Mapping& mapping, std::uint64_t at) {
        const ReferenceUnit expected = reference_.read(at);
        const std::uint64_t length = std::min(reference_.unit_bytes(), image_.size() - at);
        Bytes bytes(length);
        const auto read = image_.read(GuestOffset(at), bytes);
        if (!read) {
            if (expected.kind != ReferenceKind::refused) differ("only ours cannot read", at);
            return;
        }
        if (expected.kind == ReferenceKind::refused) {
            // libdeflate takes a code that an incomplete table does not have for one that it has; zlib refuses it
            const bool is_deflated = mapping.kind == MappingKind::compressed && !reference_.is_zstd();
            if (!is_deflated) differ("only the reference refuses", at);
            return;
        }
        if (!is_same_kind(mapping.kind, expected.kind)) differ("kinds of cluster", at);
        const auto content = std::as_bytes(std::span(expected.bytes));
        const bool same = content.empty() ? is_zero(bytes) : std::ranges::equal(bytes, content.first(length));
        if (!same) differ("content", at);
    }

    const ReferenceReader& reference_;
    Image image_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::vector<std::uint8_t> file = without_bitmaps(std::span(data, size));
    const auto reference = ReferenceReader::open(file, data_file());
    auto ours = open_ours(file);
    if ((ours != nullptr) != reference.has_value())
        differ(ours ? "only the reference refuses the header" : "only ours refuses the header", 0);
    if (!ours) return 0;
    if (ours->size() != reference->disk_bytes()) differ("size of the disk", 0);
    if (ours->backing_file().value_or("") != reference->backing_file()) differ("backing file", 0);
    Comparison(std::move(ours), *reference).run();
    return 0;
}
