// Looks up single items of trees.
// SPDX-License-Identifier: Apache-2.0
#include "guest/btrfs/replacement.hpp"

#include <optional>
#include <utility>
#include <vector>

#include "base/try.hpp"
#include "guest/btrfs/chunk_tree.hpp"

namespace qimg::guest::btrfs {

namespace {

struct FoundItem {
    Key key;
    Bytes content;
};

class Lookup {
  public:
    Lookup(const Volume& volume, const Superblock& superblock, std::vector<Chunk> system_chunks)
        : volume_(volume), superblock_(superblock), system_chunks_(std::move(system_chunks)) {}

    // The item with the key, or else the last one before it; nothing when there is none.
    Result<std::optional<FoundItem>> find(BlockReference reference, const Key& wanted) const {
        for (;;) {
            const auto places = TRY(places_of(reference));
            const TreeBlock block = TRY(read_tree_block(volume_, superblock_, reference, places));
            std::uint32_t index = block.count();
            while (index > 0 && block.key(index - 1) > wanted)
                --index;
            if (index == 0) return std::optional<FoundItem>();
            if (block.is_leaf()) {
                const TreeItem item = block.item(index - 1);
                return FoundItem{item.key, Bytes(item.content.begin(), item.content.end())};
            }
            reference = block.pointer(index - 1);
        }
    }

  private:
    Result<std::vector<std::uint64_t>> places_of(const BlockReference& reference) const {
        const std::uint32_t node_bytes = superblock_.raw.node_bytes;
        const Chunk* const chunk = find_chunk(system_chunks_, reference.logical, node_bytes);
        if (chunk != nullptr) return chunk->places_of(reference.logical);
        if (reference.owner == disk::chunk_tree)
            return broken("a block of its chunk tree in no system chunk");
        const auto item =
            TRY(find(chunk_root(superblock_), {disk::chunks_object, disk::chunk_item, reference.logical}));
        if (!item || std::get<1>(item->key) != disk::chunk_item) return broken("a tree block in no chunk");
        const Chunk other = TRY(parse_chunk(superblock_, std::get<2>(item->key), item->content));
        if (!other.contains(reference.logical, node_bytes)) return broken("a tree block in no chunk");
        return other.places_of(reference.logical);
    }

    const Volume& volume_;
    const Superblock& superblock_;
    std::vector<Chunk> system_chunks_;
};

}  // namespace

Result<void> check_no_replacement(const Volume& volume, const Superblock& superblock) {
    const disk::Superblock& raw = superblock.raw;
    auto system_chunks = TRY(read_system_chunks(superblock));
    const Lookup lookup(volume, superblock, std::move(system_chunks));
    const Key root_key{disk::device_tree, disk::root_item, 0};
    const BlockReference roots{raw.root, raw.generation, disk::root_tree, raw.root_level, {}};
    const auto root = TRY(lookup.find(roots, root_key));
    if (!root || root->key != root_key || root->content.size() < sizeof(disk::RootItem))
        return broken("its tree of devices is not there");
    const auto devices = load<disk::RootItem>(root->content);
    if (devices.level > disk::level_max) return broken("its tree of devices");
    const Key key{disk::replacement_object, disk::replacement_item, 0};
    const auto found = TRY(lookup.find(
        BlockReference{devices.logical, devices.generation, disk::device_tree, devices.level, {}}, key));
    if (!found || found->key != key) return {};
    if (found->content.size() < sizeof(disk::ReplacementItem)) return broken("its replacement of a device");
    const std::uint64_t state = load<disk::ReplacementItem>(found->content).state;
    if (state == disk::never_started || state == disk::finished || state == disk::cancelled) return {};
    return fail(
        ErrorKind::in_use,
        "the device is being replaced by another one (btrfs replace); let the machine finish or cancel that");
}

}  // namespace qimg::guest::btrfs
