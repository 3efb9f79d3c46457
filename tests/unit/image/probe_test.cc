// Formats by their first bytes.
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "image/opener.hpp"

using namespace qimg;

namespace {

std::string probe(const std::string& start, std::uint64_t at = 0) {
    const auto storage = memory_storage();
    REQUIRE(storage->write(HostOffset(at), std::as_bytes(std::span(start))));
    return probe_format(*storage).value();
}

}  // namespace

TEST_CASE("a foreign image does not pass for a raw one") {
    CHECK(probe("QFI\xfb") == "qcow2");
    CHECK(probe(std::string("QFI\xfb\0\0\0\x01", 8)) == "qcow");
    CHECK(probe("KDMV") == "vmdk");
    CHECK(probe("vhdxfile") == "vhdx");
    CHECK(probe("\x7f\x10\xda\xbe", 64) == "vdi");
    CHECK(probe("LUKS\xba\xbe") == "luks");
    CHECK(probe("conectix") == "vpc");
    CHECK(probe("anything else") == "raw");
    CHECK(probe("") == "raw");
}

TEST_CASE("a foreign format is refused by name, and a foreign image may be called raw") {
    const auto open = [](std::optional<std::string> format) {
        auto storage = memory_storage();
        REQUIRE(storage->write(HostOffset(0), std::as_bytes(std::span("KDMV", 4))));
        OpenOptions options;
        options.format = std::move(format);
        return open_format(std::move(storage), "disk", options, file_opener());
    };
    CHECK(open(std::nullopt).error().kind == ErrorKind::unsupported);
    CHECK(open("vdi").error().kind == ErrorKind::unsupported);
    CHECK(open("unheard-of").error().kind == ErrorKind::invalid_argument);
    CHECK(open("raw"));
}
