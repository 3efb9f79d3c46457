// Lays out directory records with libiso9660, which keeps each of them inside one block.
// SPDX-License-Identifier: Apache-2.0
#include "iso9660/directory.hpp"

#include <algorithm>
#include <cstring>
#include <ctime>

#include "iso9660/disk_layout.hpp"
#include "qimg/units.hpp"

namespace qimg::iso9660 {

namespace {

constexpr std::size_t own_records = 2;  // "." and ".."

// ECMA-119 9.1: the fixed part and the identifier are padded to an even length, and so is what follows.
std::size_t record_bytes(std::size_t identifier_bytes, std::size_t system_use_bytes) {
    return round_up(round_up(sizeof(iso9660_dir_t) + identifier_bytes, 2) + system_use_bytes, 2);
}

// Where each record starts, from their own length bytes; a zero means that the block holds no more.
std::vector<std::size_t> record_starts(std::span<const std::byte> directory) {
    std::vector<std::size_t> starts;
    for (std::size_t at = 0; at < directory.size();) {
        const auto length = std::to_integer<std::size_t>(directory[at]);
        if (length != 0) starts.push_back(at);
        at = length != 0 ? at + length : round_down(at, block_bytes) + block_bytes;
    }
    return starts;
}

}  // namespace

void sort_records(std::vector<Record>& records) {
    std::ranges::sort(records, {}, &Record::identifier);
}

std::uint32_t directory_blocks(const Directory& directory) {
    std::size_t end = record_bytes(1, directory.own_system_use.size()) +
                      record_bytes(1, directory.parent_system_use.size());
    for (const Record& record : directory.records) {
        const std::size_t length = record_bytes(record.identifier.size(), record.system_use.size());
        if (end % block_bytes + length > block_bytes) end = round_up(end, block_bytes);
        end += length;
    }
    // one more when the last block is full to the byte: libiso9660 wants a zero behind the last record
    return static_cast<std::uint32_t>(end / block_bytes + 1);
}

Bytes directory_bytes(const Directory& directory, std::uint32_t block) {
    const std::uint32_t size = directory_blocks(directory) * block_bytes;
    const std::time_t time = directory.time;
    const auto su_size = [](const std::string& area) { return static_cast<unsigned int>(area.size()); };

    Bytes bytes(size);
    iso9660_dir_init_new_su(bytes.data(), block, size, directory.own_system_use.data(),
                            su_size(directory.own_system_use), block, size,
                            directory.parent_system_use.data(), su_size(directory.parent_system_use), &time);
    for (const Record& record : directory.records) {
        // the library takes C strings, but UCS-2 has zero bytes: reserve the room first, put the name there
        // below
        const std::string room(record.identifier.size(), '_');
        iso9660_dir_add_entry_su(bytes.data(), room.c_str(), record.block, record.bytes, ISO_FILE,
                                 record.system_use.data(), su_size(record.system_use), &time);
    }
    const std::vector<std::size_t> starts = record_starts(bytes);
    for (std::size_t i = 0; i < directory.records.size(); ++i) {
        const std::string& identifier = directory.records[i].identifier;
        std::memcpy(bytes.data() + starts[own_records + i] + sizeof(iso9660_dir_t), identifier.data(),
                    identifier.size());
    }
    return bytes;
}

}  // namespace qimg::iso9660
