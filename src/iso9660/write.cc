// Plans the blocks of a volume and writes them: descriptors, path tables, two root directories, files.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <limits>

#include "base/bytes.hpp"
#include "base/text.hpp"
#include "base/try.hpp"
#include "iso9660/descriptors.hpp"
#include "iso9660/directory.hpp"
#include "iso9660/disk_layout.hpp"
#include "iso9660/identifiers.hpp"
#include "iso9660/rock_ridge.hpp"
#include "qimg/iso9660.hpp"

namespace qimg {

namespace {

using namespace iso9660;

constexpr std::size_t files_max = 256;
constexpr std::size_t volume_id_max = 16;         // Joliet: 32 bytes of UCS-2
constexpr std::int64_t time_max = 5'869'583'999;  // 2155-12-31, the last year of ECMA-119 9.1.5

Result<void> check(std::span<const VolumeFile> files, const Iso9660Options& options) {
    TRY(check_names(files));
    if (options.volume_id.empty() || options.volume_id.size() > volume_id_max) {
        return failf(ErrorKind::invalid_argument, "volume id '{}': must have 1 to {} characters",
                     printable(options.volume_id), volume_id_max);
    }
    if (files.size() > files_max) {
        return failf(ErrorKind::invalid_argument, "{} files: at most {} fit into a volume made here",
                     files.size(), files_max);
    }
    if (options.time < 0 || options.time > time_max) {
        return failf(ErrorKind::invalid_argument,
                     "time {}: ISO 9660 volumes made here begin in 1970 and end in 2155", options.time);
    }
    for (const VolumeFile& file : files) {
        if (file.contents.size() > std::numeric_limits<std::uint32_t>::max()) {
            return failf(ErrorKind::invalid_argument, "file '{}': ISO 9660 files end at 4 GiB", file.name);
        }
    }
    return {};
}

std::uint32_t blocks_of(std::uint64_t bytes) {
    return static_cast<std::uint32_t>(divide_up(bytes, block_bytes));
}

// Both directories; their records' blocks are relative to the first block of file data.
struct Trees {
    Directory rock_ridge;
    Directory joliet;
};

Trees make_trees(std::span<const VolumeFile> files, std::int64_t time) {
    Trees trees;
    trees.rock_ridge.own_system_use = root_system_use(time, continuation_area().size());
    trees.rock_ridge.parent_system_use = parent_system_use(time);
    trees.rock_ridge.time = trees.joliet.time = time;
    const std::vector<std::string> identifiers = level_1_identifiers(files);
    std::uint32_t block = 0;
    for (std::size_t i = 0; i < files.size(); ++i) {
        const auto bytes = static_cast<std::uint32_t>(files[i].contents.size());
        trees.rock_ridge.records.push_back(
            {identifiers[i], file_system_use(files[i].name, time), block, bytes});
        trees.joliet.records.push_back({ucs2(files[i].name), "", block, bytes});
        block += blocks_of(bytes);
    }
    sort_records(trees.rock_ridge.records);
    sort_records(trees.joliet.records);
    return trees;
}

void place_files(Directory& directory, std::uint32_t first_block) {
    for (Record& record : directory.records)
        record.block += first_block;
}

// A path table with the root alone (ECMA-119 9.4), once per byte order.
struct PathTables {
    Bytes l = Bytes(block_bytes);
    Bytes m = Bytes(block_bytes);
    std::uint32_t bytes = 0;
};

PathTables path_tables(std::uint32_t root) {
    PathTables tables;
    iso9660_pathtable_init(tables.l.data());
    iso9660_pathtable_init(tables.m.data());
    iso9660_pathtable_l_add_entry(tables.l.data(), "", root, 1);
    iso9660_pathtable_m_add_entry(tables.m.data(), "", root, 1);
    tables.bytes = iso9660_pathtable_get_size(tables.l.data());
    return tables;
}

}  // namespace

Result<void> write_iso9660(std::span<const VolumeFile> files, const Iso9660Options& options, Storage& onto) {
    TRY(check(files, options));
    Trees trees = make_trees(files, options.time);
    const std::uint32_t joliet_root_block = root_block + directory_blocks(trees.rock_ridge);
    const std::uint32_t data_block = joliet_root_block + directory_blocks(trees.joliet);
    place_files(trees.rock_ridge, data_block);
    place_files(trees.joliet, data_block);

    std::uint64_t blocks = data_block;
    for (const VolumeFile& file : files)
        blocks += blocks_of(file.contents.size());
    if (blocks > std::numeric_limits<std::uint32_t>::max()) {
        return fail(ErrorKind::invalid_argument, "the files do not fit into an ISO 9660 volume");
    }
    const Volume volume{options.volume_id, static_cast<std::uint32_t>(blocks), options.time};
    const Bytes root = directory_bytes(trees.rock_ridge, root_block);
    const Bytes joliet_root = directory_bytes(trees.joliet, joliet_root_block);
    const PathTables tables = path_tables(root_block);
    const PathTables joliet_tables = path_tables(joliet_root_block);

    // everything but the files is small: one buffer, one write
    Bytes head(std::size_t{data_block} * block_bytes);
    const auto put = [&](std::uint32_t block, std::span<const std::byte> bytes) {
        std::ranges::copy(bytes, head.begin() + std::ptrdiff_t{block} * block_bytes);
    };
    put(primary_descriptor_block,
        primary_descriptor(volume, {root, path_table_l_block, path_table_m_block, tables.bytes}));
    put(joliet_descriptor_block, joliet_descriptor(volume, {joliet_root, joliet_path_table_l_block,
                                                            joliet_path_table_m_block, joliet_tables.bytes}));
    put(terminator_block, terminator());
    put(path_table_l_block, tables.l);
    put(path_table_m_block, tables.m);
    put(joliet_path_table_l_block, joliet_tables.l);
    put(joliet_path_table_m_block, joliet_tables.m);
    put(continuation_block, bytes_of(continuation_area()));
    put(root_block, root);
    put(joliet_root_block, joliet_root);
    TRY(onto.write(HostOffset(0), head));

    std::uint64_t block = data_block;
    for (const VolumeFile& file : files) {
        TRY(onto.write(HostOffset(block * block_bytes), bytes_of(file.contents)));
        block += blocks_of(file.contents.size());
    }
    return onto.resize(blocks * block_bytes);
}

}  // namespace qimg
