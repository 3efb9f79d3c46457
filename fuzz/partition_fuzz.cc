// Reads arbitrary bytes as a disk with partition tables: two opinions, the library's and one written from the
// specification alone, name the same broken rules.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>

#include <cstdlib>
#include <set>

#include "heap_limit.hpp"
#include "partition/tables.hpp"
#include "qimg/printable.hpp"
#include "reference_tables.hpp"

using namespace qimg;
using partition::TableRule;

namespace {

[[noreturn]] void differ(std::string_view what) {
    fmt::print(stderr, "the opinions differ: {}\n", what);
    std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const fuzz::HeapLimit limit(fuzz::heap_bytes_for(size));
    auto disk = memory_storage();
    if (!disk->write(HostOffset(0), std::as_bytes(std::span(data, size)))) return 0;
    const auto faults = partition::check_tables(*disk);
    if (!faults) differ("a disk can be read");
    std::set<TableRule> ours;
    for (const partition::TableFault& fault : *faults) {
        ours.insert(fault.rule);
        if (fault.text.empty() || printable(fault.text) != fault.text)
            differ("a fault is told in safe words");
    }
    fuzz::ReferenceVerdict reference = fuzz::judge_tables(std::span(data, size));
    if (reference.has_inverted) {
        ours.erase(TableRule::no_overlap);
        reference.broken.erase(TableRule::no_overlap);
    }
    if (ours == reference.broken) return 0;
    for (const partition::TableFault& fault : *faults)
        fmt::print(stderr, "{}: {}\n", static_cast<int>(fault.rule), fault.text);
    for (const TableRule rule : reference.broken)
        fmt::print(stderr, "the reference blames {}\n", static_cast<int>(rule));
    differ("which rules are broken");
}
