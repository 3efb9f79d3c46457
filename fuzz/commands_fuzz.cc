// What commands that only read do with arbitrary bytes whose format is told by the first of them: info, check,
// map, measure, compare and convert, with the files that the header names.
// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <cstdint>

#include "image/opener.hpp"
#include "memory_opener.hpp"
#include "qimg/operations/check.hpp"
#include "qimg/operations/compare.hpp"
#include "qimg/operations/info.hpp"
#include "qimg/operations/map.hpp"
#include "qimg/operations/measure.hpp"
#include "qimg/operations/snapshot.hpp"

using namespace qimg;

namespace {

// Larger disks are looked at, but not read to their end.
constexpr std::uint64_t read_bytes_max = 8 * MiB;

MeasureOptions measure_options(const ImageLocation& location, const std::string& format) {
    MeasureOptions options;
    options.source = location;
    options.format = format;
    return options;
}

void run(const ImageLocation& location, Opener& opener) {
    InfoOptions info_options{location.path, location.open};
    info_options.backing_chain = true;
    info_options.limits = true;
    (void)info(info_options, opener);
    CheckOptions check_options;
    check_options.path = location.path;
    check_options.open = location.open;
    (void)check(check_options, opener);
    (void)snapshot_list({location.path, location.open, ""}, opener);
    const auto image = Image::open(location.path, location.open, opener);
    if (!image || (*image)->size() > read_bytes_max) return;
    MapOptions map_options;
    map_options.path = location.path;
    map_options.open = location.open;
    (void)map(
        map_options, [](const MapEntry&) -> Result<void> { return {}; }, opener);
    (void)measure(measure_options(location, "raw"), opener);
    (void)measure(measure_options(location, "qcow2"), opener);
    const auto again = Image::open(location.path, location.open, opener);
    CompareOptions compare_options;
    compare_options.strict = true;
    compare_options.threads = 1;
    if (again) (void)compare(**image, **again, compare_options);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::MemoryOpener opener(std::as_bytes(std::span(data, size)));
    ImageLocation location;
    location.path = "image";
    run(location, opener);
    location.open.with_backing = false;
    location.open.with_data_file = false;
    location.open.format = "raw";
    run(location, opener);
    return 0;
}
