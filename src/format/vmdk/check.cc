// A walk through all tables.
// SPDX-License-Identifier: Apache-2.0
#include "format/vmdk/check.hpp"

#include <fmt/core.h>

#include "base/try.hpp"

namespace qimg::vmdk {

Result<CheckReport> check_image(const Vmdk& image, const std::function<void(const std::string&)>& on_finding,
                                std::uint64_t& grains) {
    const Header& header = image.header();
    CheckReport report;
    const auto tell = [&](fmt::format_string<std::uint64_t> format, std::uint64_t at) {
        ++report.check_errors;
        if (on_finding) on_finding(fmt::format(format, at / sector_bytes));
    };
    for (std::uint64_t number = 0; number < header.tables(); ++number) {
        const std::uint64_t start = number * header.table_reach_bytes();
        const auto table = image.tables().read(number);
        if (!table && table.error().kind != ErrorKind::corrupt) return std::unexpected<Error>(table.error());
        if (!table) tell("ERROR: could not get cluster_offset for sector {}", start);
        if (!table || *table == nullptr) continue;
        for (std::uint32_t i = 0; i < (*table)->size(); ++i) {
            const std::uint64_t at = start + i * header.grain_bytes;
            if (at >= header.size) break;
            const auto grain = image.grain((**table)[i]);
            if (!grain && grain.error().kind != ErrorKind::corrupt)
                return std::unexpected<Error>(grain.error());
            if (!grain) {
                tell("ERROR: cluster offset for sector {} points after EOF", at);
            } else if (grain->kind == MappingKind::data || grain->kind == MappingKind::compressed) {
                ++grains;
            }
        }
    }
    return report;
}

}  // namespace qimg::vmdk
