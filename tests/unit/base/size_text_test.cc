// Sizes as people write and read them.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/size_text.hpp"

#include <doctest/doctest.h>

#include <cerrno>
#include <limits>

#include "qimg/units.hpp"

using namespace qimg;

TEST_CASE("a suffix multiplies by powers of 1024, in either case") {
    CHECK(parse_size("0").value() == 0);
    CHECK(parse_size("1").value() == 1);
    CHECK(parse_size("1024b").value() == 1024);
    CHECK(parse_size("1k").value() == KiB);
    CHECK(parse_size("1K").value() == KiB);
    CHECK(parse_size("3m").value() == 3 * MiB);
    CHECK(parse_size("20G").value() == 20 * GiB);
    CHECK(parse_size("1T").value() == TiB);
    CHECK(parse_size("2P").value() == 2048 * TiB);
    CHECK(parse_size("15E").value() == 15 * 1024 * 1024 * TiB);
}

TEST_CASE("decimals need a suffix and are rounded to bytes") {
    CHECK(parse_size("1.5k").value() == 1536);
    CHECK(parse_size("0.5M").value() == 512 * KiB);
    CHECK(parse_size("3.3k").value() == 3379);
    CHECK(parse_size("0.7k").value() == 717);
    CHECK(parse_size("1.").value() == 1);
    CHECK_FALSE(parse_size("1.5"));
    CHECK_FALSE(parse_size("1.5b"));
    CHECK_FALSE(parse_size(".5k"));
}

TEST_CASE("hexadecimal numbers have no suffix") {
    CHECK(parse_size("0x100000").value() == MiB);
    CHECK(parse_size("0X1b").value() == 27);
    CHECK_FALSE(parse_size("0x"));
    CHECK_FALSE(parse_size("0x1k"));
    CHECK_FALSE(parse_size("0x-1"));
}

TEST_CASE("what is no size is refused with what is allowed") {
    for (const char* text :
         {"", " ", "x", "-1", "1 ", "1GB", "1GiB", "1e6", "1.5.5k", "nan", "inf", "k", "+"}) {
        CAPTURE(text);
        const auto size = parse_size(text);
        REQUIRE_FALSE(size);
        CHECK(size.error().kind == ErrorKind::invalid_argument);
        CHECK(size.error().system_errno == 0);
        CHECK(size.error().message.find("suffix k, M, G, T, P or E") != std::string::npos);
    }
}

TEST_CASE("2^64 and more is out of range") {
    CHECK(parse_size("18446744073709551615").value() == std::numeric_limits<std::uint64_t>::max());
    for (const char* text :
         {"18446744073709551616", "16E", "17E", "0x10000000000000000", "15.99999999999999999999E"}) {
        CAPTURE(text);
        const auto size = parse_size(text);
        REQUIRE_FALSE(size);
        CHECK(size.error().system_errno == ERANGE);
    }
}

TEST_CASE("a size change is absolute, or relative by its sign") {
    CHECK(parse_size_change("10M").value().apply(MiB).value() == 10 * MiB);
    CHECK(parse_size_change("+10M").value().apply(MiB).value() == 11 * MiB);
    CHECK(parse_size_change("-1M").value().apply(MiB).value() == 0);
    CHECK_FALSE(parse_size_change("-2M").value().apply(MiB));
    CHECK_FALSE(parse_size_change("8E").value().apply(0));
    CHECK_FALSE(parse_size_change("+7E").value().apply(2ull << 60));
    CHECK_FALSE(parse_size_change("+-1"));
    CHECK_FALSE(parse_size_change("-"));
}

TEST_CASE("sizes are printed with three digits and a binary unit") {
    CHECK(format_size(0) == "0 B");
    CHECK(format_size(512) == "512 B");
    CHECK(format_size(1000) == "0.977 KiB");
    CHECK(format_size(1024) == "1 KiB");
    CHECK(format_size(196 * KiB) == "196 KiB");
    CHECK(format_size(GiB + GiB / 4) == "1.25 GiB");
    CHECK(format_size(1000 * KiB) == "0.977 MiB");
    CHECK(format_size(std::numeric_limits<std::uint64_t>::max()) == "16 EiB");
}
