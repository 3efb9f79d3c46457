// Logs of changes of a disk whose image cannot switch from the old content to the new one: whatever arrived before a
// crash, the log brings the rest.
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "format/vmdk/create.hpp"
#include "operations/disk_storage.hpp"
#include "storage/redo_log.hpp"
#include "support/crash_states.hpp"
#include "support/numbered_file.hpp"
#include "support/test_images.hpp"

using namespace qimg;

namespace {

constexpr std::uint64_t longer = 333 * KiB;

std::vector<test::TestImage> images() {
    auto data = test::layout_of(4096);
    data.data_file = "data";
    auto raw_data = data;
    raw_data.data_file_raw = true;
    auto overlay = data;
    overlay.backing_file = "base";
    overlay.backing_format = "raw";
    std::vector<test::TestImage> all{test::single_image("data file", data),
                                     test::single_image("raw data file", raw_data),
                                     test::single_image("data file, overlay", overlay)};
    test::TestImage vmdk{"vmdk", {}, {"top"}, test::Health::whole, 1};
    test::RecordingStorage file;
    VmdkLayout layout;
    REQUIRE(vmdk::create_empty(file, layout, 160 * KiB, "top"));
    vmdk.files["top"] = file.content();
    test::change_in(vmdk.files, "top",
                    [](Image& image) { REQUIRE(image.write(GuestOffset(1000), test::pattern(90000, 1))); });
    all.push_back(std::move(vmdk));
    return all;
}

Bytes disk_in(const test::Folder& folder) {
    test::RecordedFolder files(folder);
    const auto image = test::open_in(files, "top");
    Bytes disk(image->size());
    REQUIRE(image->read(GuestOffset(0), disk));
    return disk;
}

struct Part {
    std::uint64_t at;
    Bytes data;  // empty: zeroes
    std::uint64_t bytes;
};

std::vector<Part> parts(std::uint64_t old_bytes) {
    return {{333, test::pattern(3000, 7), 3000},
            {20'000, {}, 30'000},
            {60'000, test::pattern(20'000, 8), 20'000},
            {old_bytes - 700, test::pattern(9'000, 9), 9'000},
            {old_bytes + longer - 5'000, test::pattern(5'000, 10), 5'000}};
}

std::unique_ptr<Storage> make_log(const Bytes& old, std::string_view format) {
    auto log = memory_storage("log");
    RedoLogWriter writer(*log,
                         {test::NumberedFile::usual, old.size(), old.size() + longer, std::string(format)});
    Bytes before = old;
    before.resize(old.size() + longer);
    for (const Part& part : parts(old.size())) {
        const HostRange range(HostOffset(part.at), part.bytes);
        if (part.data.empty())
            REQUIRE(writer.add_zeroes(range));
        else
            REQUIRE(writer.add(range.start, std::span(before).subspan(part.at, part.bytes), part.data));
    }
    REQUIRE(writer.finish());
    return log;
}

Bytes changed(Bytes disk) {
    const std::uint64_t old_bytes = disk.size();
    disk.resize(old_bytes + longer);
    for (const Part& part : parts(old_bytes)) {
        const auto at = disk.begin() + static_cast<std::ptrdiff_t>(part.at);
        std::fill_n(at, part.bytes, std::byte{0});
        std::copy(part.data.begin(), part.data.end(), at);
    }
    return disk;
}

void apply(const Storage& log, test::RecordedFolder& files) {
    const auto image = test::open_in(files, "top");
    DiskStorage disk(*image);
    test::NumberedFile numbered(disk);
    const auto applied = apply_redo_log(log, numbered);
    REQUIRE_MESSAGE(applied, (applied ? "" : applied.error().message));
}

}  // namespace

TEST_CASE("a log of a disk brings its changes, also after a crash while it did") {
    std::mt19937_64 random(1);
    using Kind = test::Survivors::Kind;
    for (const test::TestImage& start : images()) {
        CAPTURE(start.name);
        const Bytes old = disk_in(start.files);
        const auto log = make_log(old, start.name == "vmdk" ? "vmdk" : "qcow2");
        test::RecordedFolder files(start.files);
        apply(*log, files);
        CHECK(disk_in(files.content()) == changed(old));
        for (test::CrashStates states(start.files, files.log());; states.advance()) {
            for (const Kind kind : {Kind::all, Kind::torn, Kind::calls, Kind::sectors}) {
                test::RecordedFolder left(states.state({kind, 0}, random));
                apply(*log, left);
                CHECK(disk_in(left.content()) == changed(old));
            }
            if (states.at_end()) break;
        }
    }
}

TEST_CASE("a disk that was used since changes were interrupted is left as it is") {
    for (const test::TestImage& start : images()) {
        CAPTURE(start.name);
        const Bytes old = disk_in(start.files);
        const auto log = make_log(old, "any");
        test::RecordedFolder files(start.files);
        const auto image = test::open_in(files, "top");
        REQUIRE(image->write(GuestOffset(61'000), Bytes(10, std::byte{1})));
        DiskStorage disk(*image);
        test::NumberedFile numbered(disk);
        CHECK(apply_redo_log(*log, numbered).error().kind == ErrorKind::unsafe);
        CHECK(image->size() == old.size());
    }
}
