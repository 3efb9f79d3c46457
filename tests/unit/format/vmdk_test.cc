// vmdk images: what is written comes back, also after a crash, and what is broken is told by its name.
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cstring>
#include <random>

#include "format/vmdk/check.hpp"
#include "format/vmdk/create.hpp"
#include "format/vmdk/vmdk.hpp"
#include "qimg/image.hpp"
#include "support/recording_storage.hpp"

using namespace qimg;
using namespace qimg::vmdk;

namespace {

constexpr std::uint64_t disk_bytes = 40 * MiB + 1536;  // two tables, and a last grain that is cut short
constexpr std::uint64_t grain_bytes = 64 * KiB;

VmdkLayout layout_of(const char* subformat, bool zeroed_grains = false) {
    VmdkLayout layout;
    layout.subformat = subformat;
    layout.zeroed_grains = zeroed_grains;
    return layout;
}

Bytes new_file(const VmdkLayout& layout, std::uint64_t size = disk_bytes) {
    test::RecordingStorage file;
    REQUIRE(create_empty(file, layout, size, "test.vmdk"));
    return file.content();
}

// The format is on loan, as long as the image lives.
struct Opened {
    Vmdk* vmdk;
    std::unique_ptr<Image> image;
};
Opened open(test::RecordingStorage& file, bool writable = false) {
    auto format = Vmdk::open(borrow_storage(file), {.writable = writable});
    REQUIRE_MESSAGE(format, (format ? "" : format.error().message));
    Vmdk* const vmdk = format->get();
    return {vmdk, std::make_unique<Image>("test.vmdk", std::move(*format), nullptr)};
}

Bytes disk_of(test::RecordingStorage& file) {
    const Opened opened = open(file);
    Bytes disk(opened.image->size());
    REQUIRE(opened.image->read(GuestOffset(0), disk));
    return disk;
}

Bytes noise(std::size_t bytes, unsigned seed) {
    std::mt19937 random(seed);
    Bytes out(bytes);
    for (std::byte& byte : out)
        byte = static_cast<std::byte>(random() % 7);  // compresses
    return out;
}

void put(Bytes& disk, std::uint64_t at, const Bytes& data) {
    std::copy(data.begin(), data.end(), disk.begin() + static_cast<std::ptrdiff_t>(at));
}

template <class T>
Bytes patched(Bytes file, std::size_t at, const T& value) {
    if (file.size() < at + sizeof value) file.resize(at + sizeof value);
    store(std::span(file).subspan(at), value);
    return file;
}

Error refusal(const Bytes& content, bool writable = false) {
    test::RecordingStorage file(content);
    const auto opened = Vmdk::open(borrow_storage(file), {.writable = writable});
    REQUIRE_FALSE(opened);
    return opened.error();
}

// Compresses and stores whole grains.
void store_grains(Vmdk& vmdk, std::uint64_t at, Bytes data) {
    data.resize(round_up(data.size(), grain_bytes));
    const auto compressor = make_compressor(Codec::zlib_stream, std::nullopt).value();
    for (std::uint64_t done = 0; done < data.size(); done += grain_bytes) {
        const auto stream = compressor->compress(std::span(data).subspan(done, grain_bytes));
        REQUIRE(stream);
        REQUIRE(vmdk.write_compressed(GuestOffset(at + done), *stream));
    }
}

HostOffset first_table(const Bytes& file) {
    const auto header = load<disk::Header>(file);
    return HostOffset(load<disk::Entry>(std::span(file).subspan(header.directory * sector_bytes)) *
                      sector_bytes);
}

// As other programs write them: tables, footer and end-of-stream marker behind the grains.
Bytes with_footer(Bytes file) {
    auto header = load<disk::Header>(file);
    const std::uint64_t end = file.size();
    const auto old = std::span(file).subspan(header.directory * sector_bytes,
                                             (header.overhead - header.directory) * sector_bytes);
    const std::uint32_t moved = static_cast<std::uint32_t>(end / sector_bytes - header.directory);
    Bytes tables(old.begin(), old.end());
    for (std::size_t i = 0; i < 2; ++i) {
        const auto entry = std::span(tables).subspan(i * sizeof(disk::Entry));
        store(entry, disk::Entry(load<disk::Entry>(entry) + moved));
    }
    std::fill(old.begin(), old.end(), std::byte{0});
    file.insert(file.end(), tables.begin(), tables.end());
    disk::Marker marker{};
    marker.sectors = 1;
    marker.type = disk::marker_footer;
    disk::Header footer = header;
    footer.directory = end / sector_bytes;
    header.directory = disk::directory_at_end;
    file = patched(std::move(file), 0, header);
    file = patched(file, file.size(), marker);
    file = patched(file, file.size(), footer);
    return patched(file, file.size(), disk::Marker{});
}

}  // namespace

TEST_CASE("what is written to a monolithicSparse image comes back") {
    for (const bool zeroed_grains : {false, true}) {
        test::RecordingStorage file(new_file(layout_of("monolithicSparse", zeroed_grains)));
        Bytes expected(disk_bytes);
        {
            const Opened opened = open(file, true);
            std::mt19937 random(1);
            for (unsigned i = 0; i < 60; ++i) {
                const std::uint64_t length = random() % (3 * grain_bytes) + 1;
                const std::uint64_t at = i == 0 ? disk_bytes - length : random() % (disk_bytes - length);
                const bool clears = i % 4 == 3;
                const Bytes data = clears ? Bytes(length) : noise(length, i);
                put(expected, at, data);
                if (clears)
                    REQUIRE(opened.image->write_zeroes(GuestRange(GuestOffset(at), length)));
                else
                    REQUIRE(opened.image->write(GuestOffset(at), data));
            }
            Bytes seen(disk_bytes);
            REQUIRE(opened.image->read(GuestOffset(0), seen));
            CHECK(seen == expected);
            REQUIRE(opened.image->flush());
        }
        CHECK(disk_of(file) == expected);
        std::uint64_t grains = 0;
        CHECK(check_image(*open(file).vmdk, {}, grains).value().check_errors == 0);
        CHECK(grains > 60);
    }
}

TEST_CASE("both copies of the tables say the same") {
    test::RecordingStorage file(new_file(layout_of("monolithicSparse")));
    {
        const Opened opened = open(file, true);
        REQUIRE(opened.image->write(GuestOffset(5 * MiB), noise(MiB, 1)));
        REQUIRE(opened.image->write(GuestOffset(35 * MiB), noise(MiB, 2)));
        REQUIRE(opened.image->flush());
    }
    const Bytes expected = disk_of(file);
    auto header = load<disk::Header>(file.content());
    header.directory = +header.redundant_directory;
    test::RecordingStorage other(patched(file.content(), 0, header));
    CHECK(disk_of(other) == expected);
}

TEST_CASE("streamOptimized images hold each grain compressed, and once") {
    test::RecordingStorage file(new_file(layout_of("streamOptimized")));
    Bytes expected(disk_bytes);
    {
        const Opened opened = open(file, true);
        const Bytes tail = noise(1536, 3);
        put(expected, MiB, noise(5 * grain_bytes, 1));
        put(expected, disk_bytes - tail.size(), tail);
        store_grains(*opened.vmdk, MiB, noise(5 * grain_bytes, 1));
        store_grains(*opened.vmdk, disk_bytes - tail.size(), tail);
        CHECK(opened.vmdk->write_compressed(GuestOffset(MiB), Bytes(10)).error().kind ==
              ErrorKind::unsupported);
        CHECK(opened.image->write(GuestOffset(0), Bytes(512)).error().kind == ErrorKind::unsupported);
        REQUIRE(opened.image->flush());
    }
    CHECK(disk_of(file) == expected);
    // parts of grains, too
    Bytes part(1000);
    REQUIRE(open(file).image->read(GuestOffset(MiB + grain_bytes - 500), part));
    CHECK(std::equal(part.begin(), part.end(), expected.begin() + MiB + grain_bytes - 500));
    CHECK(file.content().size() % sector_bytes == 0);
}

TEST_CASE("grains that do not compress are stored all the same") {
    test::RecordingStorage file(new_file(layout_of("streamOptimized")));
    Bytes data(grain_bytes);
    std::mt19937 random(1);
    for (std::byte& byte : data)
        byte = static_cast<std::byte>(random());
    {
        const Opened opened = open(file, true);
        store_grains(*opened.vmdk, 0, data);
        REQUIRE(opened.image->flush());
    }
    const Bytes disk = disk_of(file);
    CHECK(std::equal(data.begin(), data.end(), disk.begin()));
}

TEST_CASE("an image whose tables stand behind its grains is read, and not written to") {
    test::RecordingStorage file(new_file(layout_of("streamOptimized")));
    {
        const Opened opened = open(file, true);
        store_grains(*opened.vmdk, 33 * MiB, noise(3 * grain_bytes, 1));
        REQUIRE(opened.image->flush());
    }
    test::RecordingStorage other(with_footer(file.content()));
    CHECK(disk_of(other) == disk_of(file));
    const Opened opened = open(other, true);
    CHECK(opened.vmdk->write_compressed(GuestOffset(0), Bytes(10)).error().kind == ErrorKind::unsupported);
    CHECK(refusal(patched(other.content(), other.content().size() - 1024, le32(1))).message ==
          "Invalid footer");
    CHECK(refusal(patched(other.content(), other.content().size() - 500, le32(1))).message ==
          "Invalid footer");
    CHECK(refusal(patched(other.content(), other.content().size() - 1024 + 12, le64(1))).message ==
          "Header and footer contradict each other");
}

TEST_CASE("opening writes nothing, the first write gives the image another CID") {
    test::RecordingStorage file(new_file(layout_of("monolithicSparse")));
    const auto cid = [&] {
        ImageInfo info;
        REQUIRE(open(file).vmdk->describe(info));
        return info.vmdk->cid;
    };
    const std::uint32_t before = cid();
    {
        const Opened opened = open(file, true);
        CHECK(file.log().empty());
        REQUIRE(opened.image->write(GuestOffset(0), Bytes(1, std::byte{1})));
        REQUIRE(opened.image->flush());
    }
    CHECK(cid() != before);
}

TEST_CASE("broken headers are refused by what is wrong with them") {
    const Bytes whole = new_file(layout_of("monolithicSparse"));
    const Bytes stream = new_file(layout_of("streamOptimized"));
    struct Fault {
        const char* text;
        Bytes file;
    };
    const Fault faults[] = {
        {"Image not in VMDK format", patched(whole, 0, le32(1))},
        {"Unsupported VMDK version 4", patched(whole, 4, le32(4))},
        {"Unsupported VMDK version 0", patched(whole, 4, le32(0))},
        {"The disk is too large", patched(whole, 12, le64(1ull << 54))},
        {"L1 size too big", patched(whole, 12, le64(1ull << 53))},
        {"Invalid granularity", patched(whole, 20, le64(0))},
        {"Invalid granularity", patched(whole, 20, le64(129))},
        {"Invalid granularity", patched(whole, 20, le64(1ull << 56))},
        {"Invalid granularity", patched(whole, 20, le64(8192))},
        {"The file has no descriptor", patched(whole, 28, le64(0))},
        {"The descriptor, 10240 bytes at sector 72057594037927936", patched(whole, 28, le64(1ull << 56))},
        {"The descriptor has 0 sectors", patched(whole, 36, le64(0))},
        {"The descriptor has 1000 sectors", patched(whole, 36, le64(1000))},
        {"L2 table size too big", patched(whole, 44, le32(513))},
        {"L1 entry size is invalid", patched(whole, 44, le32(0))},
        {"The redundant grain directory", patched(whole, 48, le64(0))},
        {"The redundant grain directory", patched(whole, 48, le64(1ull << 40))},
        {"The grain directory", patched(whole, 56, le64(0))},
        {"The grain directory", patched(whole, 56, le64(1ull << 60))},
        {"Invalid footer", patched(whole, 56, le64(~0ull))},
        {"File truncated, expecting at least 65536 bytes", Bytes(whole.begin(), whole.begin() + 40000)},
        {"File truncated", Bytes(whole.begin(), whole.begin() + 512)},
        {"transferred as text", patched(whole, 73, le32(0x0a0a0a0a))},
        {"Unsupported compression algorithm 2", patched(whole, 77, le16(2))},
        {"Flags and compression algorithm contradict", patched(whole, 77, le16(1))},
        {"Compressed grains without markers", patched(stream, 8, le32(0x10003))},
    };
    for (const Fault& fault : faults) {
        const Error error = refusal(fault.file);
        INFO(error.message);
        CHECK(error.message.find(fault.text) != std::string::npos);
    }
    CHECK(refusal(patched(whole, 4, le32(3)), true).message == "VMDK version 3 must be read only");
}

TEST_CASE("broken tables are told, and never lead a write into what is not a grain") {
    test::RecordingStorage file(new_file(layout_of("monolithicSparse")));
    {
        const Opened opened = open(file, true);
        REQUIRE(opened.image->write(GuestOffset(0), noise(2 * grain_bytes, 1)));
        REQUIRE(opened.image->flush());
    }
    const HostOffset table = first_table(file.content());
    const auto directory = load<disk::Header>(file.content()).directory * sector_bytes;
    SUBCASE("a grain outside of the file") {
        test::RecordingStorage other(patched(file.content(), table.bytes + 4, le32(1u << 30)));
        const Opened opened = open(other);
        Bytes first(grain_bytes);
        CHECK(opened.image->read(GuestOffset(0), first));
        CHECK(opened.image->read(GuestOffset(grain_bytes), first).error().kind == ErrorKind::corrupt);
        std::vector<std::string> findings;
        std::uint64_t grains = 0;
        const auto report = check_image(
            *opened.vmdk, [&](const std::string& text) { findings.push_back(text); }, grains);
        CHECK(report.value().check_errors == 1);
        REQUIRE(findings.size() == 1);
        CHECK(findings[0] == "ERROR: cluster offset for sector 128 points after EOF");
    }
    SUBCASE("a zeroed grain where there are none") {
        test::RecordingStorage other(patched(file.content(), table.bytes, le32(1)));
        const Opened opened = open(other, true);
        const Bytes before = other.content();
        REQUIRE(opened.image->write(GuestOffset(0), Bytes(512, std::byte{9})));
        REQUIRE(opened.image->flush());
        // what the entry led to, the descriptor, is as it was but for its CID
        const Bytes after = other.content();
        CHECK(std::equal(before.begin() + 600, before.begin() + 10752, after.begin() + 600));
    }
    SUBCASE("a table outside of the file") {
        test::RecordingStorage other(patched(file.content(), directory, le32(1u << 30)));
        Bytes first(grain_bytes);
        CHECK(open(other).image->read(GuestOffset(0), first).error().kind == ErrorKind::corrupt);
        CHECK_FALSE(open(other, true).image->write(GuestOffset(0), first));
    }
    SUBCASE("more tables than there is room for, because many are the same") {
        const Bytes small = new_file(layout_of("monolithicSparse"), MiB);
        const std::uint64_t first = load<disk::Header>(small).directory * sector_bytes;
        for (const std::uint64_t count : {32u, 33u}) {
            Bytes other = patched(small, 12, le64(count * 32 * MiB / sector_bytes));
            for (std::uint64_t i = 1; i < count; ++i)
                other = patched(other, first + i * 4, load<le32>(std::span(small).subspan(first)));
            test::RecordingStorage shared(other);
            CHECK(Vmdk::open(borrow_storage(shared), {}).has_value() == (count * 2048 <= other.size()));
        }
    }
    SUBCASE("a table that is missing, and one that is shared") {
        for (const std::uint32_t entry : {0u, static_cast<std::uint32_t>(table.bytes / sector_bytes)}) {
            test::RecordingStorage other(patched(file.content(), directory + 4, le32(entry)));
            Bytes data(grain_bytes);
            CHECK(open(other).image->read(GuestOffset(33 * MiB), data));
            CHECK(open(other, true).image->write(GuestOffset(0), data).error().kind ==
                  ErrorKind::unsupported);
        }
    }
}

TEST_CASE("a compressed grain whose marker lies is damaged") {
    test::RecordingStorage stream(new_file(layout_of("streamOptimized")));
    {
        const Opened opened = open(stream, true);
        store_grains(*opened.vmdk, 0, noise(grain_bytes, 1));
        REQUIRE(opened.image->flush());
    }
    const std::uint64_t at = load<disk::Header>(stream.content()).overhead * sector_bytes;
    for (const std::uint32_t length : {0u, 20u, 1u << 17, (1u << 17) + 1, ~0u}) {
        test::RecordingStorage other(patched(stream.content(), at + 8, le32(length)));
        Bytes data(grain_bytes);
        CHECK(open(other).image->read(GuestOffset(0), data).error().kind == ErrorKind::corrupt);
    }
}

TEST_CASE("descriptors") {
    const std::string good =
        "# Disk DescriptorFile\nversion=1\r\nCID = "
        "12ab34CD\nparentCID=ffffffff\ncreateType=\"streamOptimized\"\n"
        "RW 100 SPARSE \"a.vmdk\"\n";
    const auto with = [&](std::string_view old, std::string_view other) {
        std::string text = good;
        return text.replace(text.find(old), old.size(), other);
    };
    const auto parsed = parse_descriptor(good).value();
    CHECK(parsed.cid == 0x12ab34cd);
    CHECK(parsed.create_type == "streamOptimized");
    CHECK(cid_digits("#CID=7\n" + good) == "12ab34CD");
    for (const char* digits : {"1", "fffff", "ffffffff"}) {
        CHECK(cid_digits(with("12ab34CD", digits)) == digits);
        CHECK(another_cid(digits).size() == std::strlen(digits));
        CHECK(another_cid(digits) != digits);
    }
    CHECK(parse_descriptor(with("12ab34CD", "")).error().kind == ErrorKind::corrupt);
    CHECK(parse_descriptor(good + std::string(1, '\0') + "RW 1 FLAT \"/etc/shadow\" 0\n"));

    CHECK(parse_descriptor("").error().kind == ErrorKind::corrupt);
    CHECK(parse_descriptor(with("CID = 12ab34CD", "")).error().kind == ErrorKind::corrupt);
    CHECK(parse_descriptor(with("12ab34CD", "12ab34CDE")).error().kind == ErrorKind::corrupt);
    CHECK(parse_descriptor(with("12ab34CD", "word")).error().kind == ErrorKind::corrupt);
    CHECK(parse_descriptor(good + "RW 1 FLAT \"/etc/shadow\" 0\n").error().kind == ErrorKind::corrupt);
    CHECK(parse_descriptor(with("createType", "type")).error().kind == ErrorKind::corrupt);
    CHECK(parse_descriptor(with("parentCID=ffffffff", "parentCID=1")).error().kind == ErrorKind::unsupported);
    CHECK(parse_descriptor(good + "parentFileNameHint=\"/etc/shadow\"").error().kind ==
          ErrorKind::unsupported);
    const Error flat = parse_descriptor(with("streamOptimized", "mono\x1b[31m")).error();
    CHECK(flat.kind == ErrorKind::unsupported);
    CHECK(flat.message.find('\x1b') == std::string::npos);

    VmdkLayout layout;
    CHECK(parse_descriptor(write_descriptor(layout, GiB, "a\"\n\x1b.vmdk", 7).value()).value().cid == 7);
    layout.hardware_version = "4\"\nparentFileNameHint=\"x";
    CHECK(write_descriptor(layout, GiB, "a", 7).error().kind == ErrorKind::invalid_argument);
    test::RecordingStorage text(
        Bytes(std::as_bytes(std::span(good)).begin(), std::as_bytes(std::span(good)).end()));
    CHECK_FALSE(Vmdk::open(borrow_storage(text), {}));
    CHECK(refusal(text.content()).message.find("inside that file") != std::string::npos);
}

TEST_CASE("layouts") {
    CHECK(check_layout(layout_of("monolithicSparse"), GiB));
    CHECK(check_layout(layout_of("twoGbMaxExtentSparse"), GiB).error().kind == ErrorKind::unsupported);
    CHECK(check_layout(layout_of("other"), GiB).error().kind == ErrorKind::invalid_argument);
    CHECK(check_layout(layout_of("monolithicSparse"), 2048 * TiB).error().kind == ErrorKind::no_space);
    VmdkLayout layout;
    layout.adapter_type = "sata";
    CHECK(check_layout(layout, GiB).error().kind == ErrorKind::invalid_argument);
    test::RecordingStorage empty(new_file(layout_of("monolithicSparse"), 0));
    CHECK(open(empty).image->size() == 0);
}

// Whatever part of the writes since the last flush a crash lets through: each sector of the disk is as it was
// before or as it was meant to be.
TEST_CASE("a crash leaves old or new content") {
    std::mt19937_64 random(1);
    for (const char* subformat : {"monolithicSparse", "streamOptimized"}) {
        const bool compressed = std::string_view(subformat) == "streamOptimized";
        Bytes start;
        Bytes old(disk_bytes);
        put(old, 3 * grain_bytes, noise(2 * grain_bytes, 9));
        {
            test::RecordingStorage file(new_file(layout_of(subformat)));
            const Opened opened = open(file, true);
            if (compressed)
                store_grains(*opened.vmdk, 3 * grain_bytes, noise(2 * grain_bytes, 9));
            else
                REQUIRE(opened.image->write(GuestOffset(3 * grain_bytes), noise(2 * grain_bytes, 9)));
            REQUIRE(opened.image->flush());
            start = file.content();
        }
        Bytes wanted = old;
        test::RecordingStorage file(start);
        {
            const Opened opened = open(file, true);
            for (unsigned i = 0; i < 6; ++i) {
                const std::uint64_t at = (7 + i % 3 * 300 + i * 5) * grain_bytes;
                const Bytes data = noise(2 * grain_bytes, i);
                put(wanted, at, data);
                if (compressed)
                    store_grains(*opened.vmdk, at, data);
                else
                    REQUIRE(opened.image->write(GuestOffset(at), data));
                if (i % 2 == 1) REQUIRE(opened.image->flush());
            }
        }
        CHECK(disk_of(file) == wanted);
        for (std::size_t calls = 0; calls <= file.log().size(); ++calls) {
            test::RecordingStorage after(test::crashed(start, file.log(), calls, random));
            const Bytes seen = disk_of(after);
            for (std::uint64_t at = 0; at < disk_bytes; at += sector_bytes) {
                const auto same = [&](const Bytes& other) {
                    return std::memcmp(seen.data() + at, other.data() + at, sector_bytes) == 0;
                };
                if (!same(old) && !same(wanted)) FAIL("sector ", at / sector_bytes, " after call ", calls);
            }
        }
    }
}

TEST_CASE("a disk becomes longer, by so much that it needs tables, or by less") {
    for (const std::uint64_t longer : {disk_bytes + 512, 64 * MiB, 64 * MiB + 512, 700 * MiB}) {
        test::RecordingStorage file(new_file(layout_of("monolithicSparse")));
        const Bytes end = noise(1536, 1);
        {
            const Opened opened = open(file, true);
            REQUIRE(opened.image->write(GuestOffset(disk_bytes - end.size()), end));
            REQUIRE(opened.vmdk->grow(longer));
            CHECK(opened.image->size() == longer);
            REQUIRE(opened.image->write(GuestOffset(longer - end.size()), end));
            REQUIRE(opened.image->flush());
        }
        {
            const Opened again = open(file, true);
            REQUIRE(again.vmdk->grow(longer + 100 * MiB));
            REQUIRE(again.image->write(GuestOffset(longer + 50 * MiB), end));
            REQUIRE(again.image->flush());
        }
        Bytes wanted(longer + 100 * MiB);
        put(wanted, disk_bytes - end.size(), end);
        put(wanted, longer - end.size(), end);
        put(wanted, longer + 50 * MiB, end);
        CHECK(disk_of(file) == wanted);
        const std::string text(text_of(std::span(file.content()).subspan(512, 10 * KiB)));
        CHECK(extent_digits(text) == std::to_string(wanted.size() / sector_bytes));
    }
}

TEST_CASE("what the last grain has behind the disk's end is not seen when that moves") {
    test::RecordingStorage file(new_file(layout_of("monolithicSparse")));
    {
        const Opened opened = open(file, true);
        REQUIRE(opened.image->write(GuestOffset(disk_bytes - 1536), noise(1536, 1)));
        REQUIRE(opened.image->flush());
    }
    // the only grain is the last one
    Bytes content = file.content();
    std::fill(content.end() - static_cast<std::ptrdiff_t>(grain_bytes - 1536), content.end(), std::byte{9});
    // and the table has an entry behind it
    const std::uint64_t last = first_table(content).bytes + 2048 + (8 * MiB / grain_bytes) * 4;
    const auto entry = load<le32>(std::span(content).subspan(last));
    REQUIRE(entry != 0u);
    test::RecordingStorage other(patched(content, last + 4, entry));
    REQUIRE(open(other, true).vmdk->grow(disk_bytes + MiB));
    const Bytes disk = disk_of(other);
    CHECK(is_zero(std::span(disk).subspan(disk_bytes)));
}

TEST_CASE("a crash while a disk becomes longer leaves the old one or the new one") {
    std::mt19937_64 random(1);
    test::RecordingStorage made(new_file(layout_of("monolithicSparse")));
    const Bytes data = noise(3 * grain_bytes, 1);
    {
        const Opened opened = open(made, true);
        REQUIRE(opened.image->write(GuestOffset(disk_bytes - data.size()), data));
        REQUIRE(opened.image->flush());
    }
    Bytes old(disk_bytes);
    put(old, disk_bytes - data.size(), data);
    Bytes wanted = old;
    wanted.resize(200 * MiB);
    test::RecordingStorage file(made.content());
    REQUIRE(open(file, true).vmdk->grow(wanted.size()));
    bool was_old = false;
    for (std::size_t calls = 0; calls <= file.log().size(); ++calls) {
        test::RecordingStorage after(test::crashed(made.content(), file.log(), calls, random));
        const Bytes seen = disk_of(after);
        was_old = was_old || seen == old;
        CHECK((seen == old || seen == wanted));
        // and it can be made longer again
        REQUIRE(open(after, true).vmdk->grow(300 * MiB));
    }
    CHECK(was_old);
    CHECK(disk_of(file) == wanted);
}

TEST_CASE("grains that lie where tables are behind the grains are not written to") {
    test::RecordingStorage file(new_file(layout_of("monolithicSparse")));
    const std::uint64_t end = file.content().size();
    REQUIRE(open(file, true).vmdk->grow(700 * MiB));
    const HostOffset table = first_table(file.content());
    for (std::uint64_t at = end; at < file.content().size(); at += grain_bytes) {
        const auto sector = static_cast<std::uint32_t>(at / sector_bytes);
        test::RecordingStorage other(patched(file.content(), table.bytes, le32(sector)));
        const Bytes before = other.content();
        const Opened opened = open(other, true);
        REQUIRE(opened.image->write(GuestOffset(0), noise(grain_bytes, 1)));
        REQUIRE(opened.image->flush());
        const Bytes after = other.content();
        CHECK(std::equal(before.begin() + static_cast<std::ptrdiff_t>(end), before.end(),
                         after.begin() + static_cast<std::ptrdiff_t>(end)));
    }
}

TEST_CASE("a disk that cannot become longer") {
    test::RecordingStorage stream(new_file(layout_of("streamOptimized")));
    CHECK(open(stream, true).vmdk->grow(MiB * 100).error().kind == ErrorKind::unsupported);
    test::RecordingStorage file(new_file(layout_of("monolithicSparse")));
    CHECK(open(file, true).vmdk->grow(std::uint64_t{1} << 60).error().kind == ErrorKind::no_space);
    CHECK(disk_of(file) == Bytes(disk_bytes));
}
