// A header that is replaced is the old or the new one at any moment, however long it is.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/header_rewrite.hpp"

#include <doctest/doctest.h>

#include "base/try.hpp"
#include "format/qcow2/create.hpp"
#include "support/recording_storage.hpp"

using namespace qimg;
using namespace qimg::qcow2;

namespace {

Bytes image_of(const Qcow2Layout& layout) {
    test::RecordingStorage storage;
    REQUIRE(create_empty(storage, layout, MiB));
    return storage.content();
}

struct Variable {
    std::optional<std::string> backing_file;
    std::optional<std::string> backing_format;
    std::size_t unknown_bytes = 0;
    friend bool operator==(const Variable&, const Variable&) = default;
};

constexpr std::uint32_t unknown_type = 0x12345678;

Variable variable_of(const Header& header) {
    const Extension* unknown = header.find(unknown_type);
    return {header.backing_file, header.backing_format(), unknown == nullptr ? 0 : unknown->data.size()};
}

void set(Header& header, const Variable& to) {
    header.backing_file = to.backing_file;
    header.set_text_extension(disk::extension_backing_format, to.backing_format.value_or(""));
    std::erase_if(header.extensions, [](const Extension& e) { return e.type == unknown_type; });
    if (to.unknown_bytes != 0) header.extensions.push_back({unknown_type, Bytes(to.unknown_bytes)});
}

Result<void> change(test::RecordingStorage& storage, const Variable& to) {
    const Header old = TRY(read_header(storage));
    Header header = old;
    set(header, to);
    return replace_header(storage, old, header, [&] { return storage.flush(); });
}

// Every crash state of the change has the old or the new header; all states together have both.
void check_every_cut(const Bytes& before, const Variable& to) {
    test::RecordingStorage recorded(before);
    const Variable old = variable_of(read_header(recorded).value());
    REQUIRE(change(recorded, to));
    CHECK(variable_of(read_header(recorded).value()) == to);
    std::mt19937_64 random(1);
    for (std::size_t calls = 0; calls <= recorded.log().size(); ++calls) {
        for (int round = 0; round < 20; ++round) {
            test::RecordingStorage cut(test::crashed(before, recorded.log(), calls, random));
            const auto header = read_header(cut);
            REQUIRE_MESSAGE(header, (header ? "" : header.error().message));
            const Variable seen = variable_of(*header);
            CHECK((seen == old || seen == to));
            // and from there the change can be made again
            REQUIRE(change(cut, to));
            CHECK(variable_of(read_header(cut).value()) == to);
        }
    }
}

}  // namespace

TEST_CASE("names and extensions of any length change at once") {
    Qcow2Layout layout;
    for (const std::uint64_t cluster_bytes : {std::uint64_t{512}, KiB, 2 * KiB, 4 * KiB, 64 * KiB}) {
        CAPTURE(cluster_bytes);
        layout.cluster_bytes = cluster_bytes;
        layout.backing_file = "base.img";
        layout.backing_format.reset();
        const Bytes before = image_of(layout);
        check_every_cut(before, {});
        check_every_cut(before, {"another-base.qcow2", "qcow2", 0});
        if (cluster_bytes < 4 * KiB) continue;
        check_every_cut(before, {std::string(1000, 'n'), "raw", 0});
        check_every_cut(before, {std::string(1000, 'n'), "raw", 700});
    }
}

TEST_CASE("a long header becomes short again") {
    Qcow2Layout layout;
    layout.backing_file = std::string(1000, 'b');
    layout.backing_format = "qcow2";
    check_every_cut(image_of(layout), {"b", "raw", 0});
}

TEST_CASE("a header that cannot change safely stays as it is") {
    Qcow2Layout layout;
    layout.cluster_bytes = KiB;
    test::RecordingStorage storage(image_of(layout));
    const Bytes before = storage.content();
    const auto refused = change(storage, {std::string(700, 'n'), "raw", 0});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().kind == ErrorKind::no_space);
    CHECK(storage.content() == before);
}
