// The last allocation group made longer: what it becomes is known before anything is written.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "guest/volume.hpp"
#include "guest/xfs/group.hpp"

namespace qimg::guest::xfs {

class LastGroup {
  public:
    // The space behind the group's end becomes free in both trees. A tree that is full takes blocks of the group's
    // free list, whose owner they have already. unsupported when it has too few.
    static Result<LastGroup> plan(const Volume& volume, const Geometry& before, const Geometry& after);

    Result<void> write(Volume& volume) const;

  private:
    LastGroup(const Geometry& geometry, const GroupHeaders& headers, FreeSpace space)
        : g_(geometry), headers_(headers), space_(std::move(space)) {}

    void add_free(const FreeExtent& added);
    Result<void> reshape(FreeTree& tree);
    Result<PlacedBlock> take_block();
    void finish_headers();
    Result<void> write_tree(Volume& volume, const FreeTree& tree, std::uint32_t magic) const;
    Result<void> write_level(Volume& volume, const FreeTree& tree, std::size_t level, std::uint32_t magic,
                             std::vector<FreeExtent>& keys) const;
    Result<void> write_headers(Volume& volume) const;

    Geometry g_;  // as it will be
    GroupHeaders headers_;
    FreeSpace space_;
    std::uint32_t taken_ = 0;  // of the free list
};

}  // namespace qimg::guest::xfs
