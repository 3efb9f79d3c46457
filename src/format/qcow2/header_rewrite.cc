// A header of one sector is written at once. A longer one takes a way round: its variable part goes to unused
// space of the cluster first, the first sector switches to that, then the same again to where it belongs.
//
// On the way the variable part follows an extension of a type that nobody knows, whose data spans everything
// in between: readers skip it.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/header_rewrite.hpp"

#include <algorithm>

#include "base/text.hpp"
#include "base/try.hpp"

namespace qimg::qcow2 {

namespace {

constexpr std::uint32_t extension_filler = 0x66696c6c;  // "fill"

// Where the last byte of the header, its extensions and the backing file name lies, plus 1.
std::uint64_t end_in_file(const Header& header) {
    std::uint64_t end = header.header_bytes + sizeof(disk::ExtensionHeader);
    for (const Extension& extension : header.extensions)
        end += sizeof(disk::ExtensionHeader) + round_up(extension.data.size(), 8);
    if (header.backing_file) end = std::max(end, header.backing_file_at.bytes + header.backing_file->size());
    return end;
}

// Where the variable part begins when a rewrite was cut short: what is before it is free. Otherwise 0.
std::uint64_t detour_in_file(const Header& header) {
    if (header.extensions.empty() || header.extensions.front().type != extension_filler) return 0;
    return header.header_bytes + sizeof(disk::ExtensionHeader) + header.extensions.front().data.size();
}

// The header whose variable part stands at `place`.
struct Detour {
    std::uint64_t place = 0;
    Bytes first_sector;
    Bytes variable_part;
};

Detour make_detour(const Header& header, const Bytes& whole, std::uint64_t place) {
    Detour detour;
    detour.place = place;
    detour.variable_part.assign(whole.begin() + header.header_bytes, whole.end());
    Header moved = header;
    if (moved.backing_file) moved.backing_file_at += place - header.header_bytes;
    detour.first_sector.assign(whole.begin(), whole.begin() + sector_bytes);
    const Bytes fields = serialize_fields(moved);
    std::copy(fields.begin(), fields.end(), detour.first_sector.begin());
    const std::uint64_t filled = place - header.header_bytes - sizeof(disk::ExtensionHeader);
    store(std::span(detour.first_sector).subspan(header.header_bytes),
          disk::ExtensionHeader{extension_filler, static_cast<std::uint32_t>(filled)});
    return detour;
}

struct Plan {
    Bytes whole;
    std::uint64_t detour_at = 0;  // 0: none is needed
};

// Nothing when there is no room for a detour.
std::optional<Plan> make_plan(const Header& old, const Header& header, Bytes whole) {
    Plan plan{std::move(whole), 0};
    if (plan.whole.size() <= std::max(sector_bytes, detour_in_file(old))) return plan;
    const std::uint64_t place =
        round_up(std::max<std::uint64_t>(end_in_file(old), plan.whole.size()), sector_bytes);
    const std::uint64_t variable_bytes = plan.whole.size() - header.header_bytes;
    const bool fields_fit = header.header_bytes + sizeof(disk::ExtensionHeader) <= sector_bytes;
    if (!fields_fit || place + variable_bytes > header.geometry.cluster_bytes()) return std::nullopt;
    plan.detour_at = place;
    return plan;
}

Result<Plan> plan_rewrite(const Header& old, Header& header) {
    auto whole = serialize_header(header);
    std::optional<Plan> plan;
    if (whole) plan = make_plan(old, header, std::move(*whole));
    if (!plan) {
        Bytes plain = TRY(serialize_header(header, FeatureNames::leave_out));
        plan = make_plan(old, header, std::move(plain));
    }
    if (plan) return std::move(*plan);
    return failf(ErrorKind::no_space, "The {}-byte header cluster has no room to change the header safely",
                 header.geometry.cluster_bytes());
}

}  // namespace

Result<void> replace_header(Storage& storage, const Header& old, Header& header,
                            const std::function<Result<void>()>& barrier) {
    // one may be left from a rewrite that was cut short
    std::erase_if(header.extensions, [](const Extension& e) { return e.type == extension_filler; });
    Plan plan = TRY(plan_rewrite(old, header));
    TRY(barrier());
    if (plan.detour_at != 0) {
        const Detour detour = make_detour(header, plan.whole, plan.detour_at);
        TRY(storage.write(HostOffset(detour.place), detour.variable_part));
        TRY(barrier());
        TRY(storage.write(HostOffset(0), detour.first_sector));
        TRY(barrier());
    }
    if (plan.whole.size() > sector_bytes) {
        TRY(storage.write(HostOffset(sector_bytes), std::span(plan.whole).subspan(sector_bytes)));
        TRY(barrier());
    }
    plan.whole.resize(std::max<std::size_t>(plan.whole.size(), sector_bytes));
    TRY(storage.write(HostOffset(0), std::span(plan.whole).first(sector_bytes)));
    return barrier();
}

}  // namespace qimg::qcow2
