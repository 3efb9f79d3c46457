// Changes a disk with partition tables one field at a time, and mends the checksums, so that what is changed is
// looked at instead of being refused with them.
// SPDX-License-Identifier: Apache-2.0
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>

#include "base/bytes.hpp"
#include "base/endian.hpp"
#include "partition/disk_layout.hpp"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t bytes_max);

namespace {

using namespace qimg;
namespace disk = partition::disk;

constexpr std::size_t mbr_entries_at = offsetof(disk::Mbr, entries);

class TableMutator {
  public:
    TableMutator(std::span<const std::uint8_t> disk, std::size_t bytes_max, unsigned seed)
        : bytes_max_(bytes_max), random_(seed) {
        const auto bytes = std::as_bytes(disk);
        disk_.assign(bytes.begin(), bytes.end());
        random_.discard(2);  // seeds that follow each other begin alike
        sector_ = disk_.size() > 4104 && text_of(std::span(disk_).subspan(4096, 8)) == disk::gpt_signature
                      ? 4096
                      : 512;
    }

    void mutate() {
        switch (below(8)) {
            case 0:
                change_mbr();
                break;
            case 1:
            case 2:
                change_header();
                break;
            case 3:
                change_length();
                break;
            default:
                change_entry();
        }
    }
    // Of either copy; sometimes the second is made to say what the first one says.
    void mend() {
        const std::uint64_t backup = get<le64>(sector_ + offsetof(disk::GptHeader, other_sector)) * sector_;
        if (below(2) == 0) repeat_in(backup);
        mend_checksums(sector_);
        mend_checksums(backup);
    }
    std::span<const std::byte> bytes() const { return disk_; }

  private:
    std::uint64_t below(std::uint64_t limit) { return limit == 0 ? 0 : random_() % limit; }
    template <class T>
    T get(std::uint64_t at) const {
        if (at > disk_.size() || disk_.size() - at < sizeof(T)) return T{};
        return load<T>(std::span(disk_).subspan(at));
    }
    template <class T>
    void put(std::uint64_t at, T value) {
        if (at > disk_.size() || disk_.size() - at < sizeof(T)) return;
        store(std::span(disk_).subspan(at), value);
    }

    std::uint64_t odd_value(std::uint64_t old) {
        const std::uint64_t sectors = disk_.size() / sector_;
        switch (below(8)) {
            case 0:
                return 0;
            case 1:
                return old + 1;
            case 2:
                return old - 1;
            case 3:
                return sectors - below(3);
            case 4:
                return ~0ull >> below(64);
            case 5:
                return old ^ 1ull << below(64);
            default:
                return below(sectors + 2);
        }
    }

    void change_mbr() {
        const std::uint64_t at = mbr_entries_at + below(4) * sizeof(disk::MbrEntry);
        auto entry = get<disk::MbrEntry>(at);
        constexpr std::array<std::uint8_t, 4> types = {0, 0x83, disk::mbr_protective, 5};
        switch (below(5)) {
            case 0:
                entry.boot_flag = below(4) == 0 ? static_cast<std::uint8_t>(below(256)) : 0x80;
                break;
            case 1:
                entry.type = types[below(types.size())];
                break;
            case 2:
                entry.first_sector = static_cast<std::uint32_t>(odd_value(entry.first_sector));
                break;
            case 3:
                entry.sectors = static_cast<std::uint32_t>(odd_value(entry.sectors));
                break;
            default:
                return put(offsetof(disk::Mbr, signature), disk::mbr_signature);
        }
        put(at, entry);
    }

    void change_header() {
        const std::uint64_t backup = get<le64>(sector_ + offsetof(disk::GptHeader, other_sector)) * sector_;
        const std::uint64_t at = below(2) == 0 ? sector_ : backup;
        auto header = get<disk::GptHeader>(at);
        switch (below(10)) {
            case 0:
                header.signature[below(8)] ^= static_cast<char>(below(2));
                break;
            case 1:
                header.header_bytes =
                    below(2) == 0 ? 92 : static_cast<std::uint32_t>(odd_value(header.header_bytes));
                break;
            case 2:
                header.own_sector = odd_value(header.own_sector);
                break;
            case 3:
                header.other_sector = odd_value(header.other_sector);
                break;
            case 4:
                header.first_usable = odd_value(header.first_usable);
                break;
            case 5:
                header.disk_guid[below(16)] ^= 1;
                break;
            case 6:
                header.entries_sector = odd_value(header.entries_sector);
                break;
            case 7:
                header.entries = static_cast<std::uint32_t>(odd_value(header.entries));
                break;
            case 8:
                header.entry_bytes = 128u << below(4);
                break;
            default:
                header.entry_bytes = static_cast<std::uint32_t>(odd_value(header.entry_bytes));
        }
        put(at, header);
    }

    // Used or not; where it lies, by itself or next to another one.
    void change_entry() {
        const auto header = get<disk::GptHeader>(sector_);
        const std::uint64_t table = header.entries_sector * sector_;
        const std::uint64_t at = table + below(header.entries) * header.entry_bytes;
        const auto other = get<disk::GptEntry>(table + below(header.entries) * header.entry_bytes);
        auto entry = get<disk::GptEntry>(at);
        switch (below(5)) {
            case 0:
                entry.type.fill(static_cast<std::uint8_t>(below(3)));
                break;
            case 1:
                entry.first_sector = odd_value(entry.first_sector);
                break;
            case 2:
                entry.last_sector = odd_value(entry.last_sector);
                break;
            case 3:
                entry.first_sector = other.last_sector + below(2);
                break;
            default:
                entry.last_sector = other.first_sector - below(2);
        }
        put(at, entry);
    }

    void change_length() {
        const std::uint64_t bytes = disk_.size() + below(8) * sector_ + below(8) * below(512);
        const std::uint64_t less = below(2) * below(bytes);
        disk_.resize(std::min<std::uint64_t>(bytes - less, bytes_max_));
    }

    void repeat_in(std::uint64_t backup) {
        auto copy = get<disk::GptHeader>(sector_);
        const auto old = get<disk::GptHeader>(backup);
        const std::uint64_t from = copy.entries_sector * sector_;
        const std::uint64_t to = old.entries_sector * sector_;
        const std::uint64_t bytes = std::uint64_t{copy.entries} * copy.entry_bytes;
        if (backup == sector_ || from > disk_.size() || disk_.size() - from < bytes || to > disk_.size() ||
            disk_.size() - to < bytes)
            return;
        std::memmove(disk_.data() + to, disk_.data() + from, bytes);
        copy.entries_sector = old.entries_sector;
        copy.other_sector = 1;
        copy.own_sector = backup / sector_;
        put(backup, copy);
    }

    void mend_checksums(std::uint64_t at) {
        auto header = get<disk::GptHeader>(at);
        const std::uint64_t entries = header.entries_sector * sector_;
        const std::uint64_t bytes = std::uint64_t{header.entries} * header.entry_bytes;
        if (entries <= disk_.size() && disk_.size() - entries >= bytes)
            header.entries_crc = checksum(entries, bytes);
        header.header_crc = 0;
        put(at, header);
        if (at > disk_.size() || disk_.size() - at < header.header_bytes) return;
        header.header_crc = checksum(at, header.header_bytes);
        put(at, header);
    }
    std::uint32_t checksum(std::uint64_t at, std::uint64_t bytes) const {
        const auto* const from = static_cast<const Bytef*>(static_cast<const void*>(disk_.data() + at));
        return static_cast<std::uint32_t>(::crc32(0, from, static_cast<uInt>(bytes)));
    }

    Bytes disk_;
    std::size_t bytes_max_;
    std::minstd_rand random_;
    std::uint64_t sector_ = 512;
};

}  // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t bytes_max,
                                               unsigned seed) {
    // bytes that no rule leads to are changed, too
    if (seed % 8 == 0) return LLVMFuzzerMutate(data, size, bytes_max);
    TableMutator mutator(std::span(data, size), bytes_max, seed);
    for (unsigned changes = 1 + seed / 8 % 4; changes > 0; --changes)
        mutator.mutate();
    if (seed % 8 != 1) mutator.mend();
    const auto disk = mutator.bytes();
    std::memcpy(data, disk.data(), std::min(disk.size(), bytes_max));
    return std::min(disk.size(), bytes_max);
}
