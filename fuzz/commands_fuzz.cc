// What commands that only read do with arbitrary bytes whose format is told by the first of them: info, check,
// map, measure and compare, with the files that the header names, and the verdict on an image from a stranger. None
// holds more memory than the file's size justifies.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "format/format.hpp"
#include "heap_limit.hpp"
#include "image/opener.hpp"
#include "memory_opener.hpp"
#include "qimg/operations/check.hpp"
#include "qimg/operations/compare.hpp"
#include "qimg/operations/info.hpp"
#include "qimg/operations/inspect.hpp"
#include "qimg/operations/map.hpp"
#include "qimg/operations/measure.hpp"
#include "qimg/operations/snapshot.hpp"
#include "qimg/printable.hpp"

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
    (void)check_chain(check_options, opener);
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

void expect(bool holds, const char* what) {
    if (holds) return;
    fmt::print(stderr, "does not hold: {}\n", what);
    std::abort();
}

// Who calls an image safe vouches for it.
void judge(Opener& opener) {
    InspectOptions options;
    options.path = "image";
    const auto verdict = inspect_untrusted(options, opener);
    expect(verdict.has_value(), "every image is judged");
    for (const UnsafeReason& reason : verdict->reasons)
        expect(printable(reason.text) == reason.text, "a reason is told in safe words");
    if (!verdict->is_safe()) return;
    const auto image = Image::open("image", {}, opener);
    expect(image.has_value(), "a safe image can be opened");
    expect((*image)->format_name() == verdict->format, "a safe image is of the format that is told");
    expect((*image)->size() == verdict->virtual_bytes, "a safe image has the size that is told");
    expect(!(*image)->format().backing_file(), "a safe image needs no other file");
    expect(&(*image)->format().storage() == &(*image)->format().data_storage(), "a safe image has its data");
    if (verdict->format != "qcow2") return;
    CheckOptions check_options;
    check_options.path = "image";
    const auto report = check(check_options, opener);
    expect(report && report->corruptions == 0 && report->check_errors == 0, "a safe image is whole");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const fuzz::HeapLimit limit(fuzz::heap_bytes_for(size));
    fuzz::MemoryOpener opener(std::as_bytes(std::span(data, size)));
    ImageLocation location;
    location.path = "image";
    run(location, opener);
    location.open.with_backing = false;
    location.open.with_guest_data = false;
    location.open.format = "raw";
    run(location, opener);
    judge(opener);
    return 0;
}
