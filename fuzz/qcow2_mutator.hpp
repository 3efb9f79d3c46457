// Changes a qcow2 image as somebody would who knows the format: one entry, one field, one stream at a time, so
// that what is changed is looked at instead of being refused with the header.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <span>

#include "base/bytes.hpp"
#include "format/qcow2/disk_layout.hpp"
#include "format/qcow2/geometry.hpp"

namespace qimg::fuzz {

class Qcow2Mutator {
  public:
    Qcow2Mutator(std::span<const std::uint8_t> image, std::size_t bytes_max, unsigned seed);

    // Changes one thing. Images whose header cannot be followed get another header field.
    void mutate();
    std::span<const std::byte> image() const { return image_; }

  private:
    struct Place {  // of some entry, in the file
        std::uint64_t at = 0;
        bool is_there = false;
    };

    std::uint64_t below(std::uint64_t limit) { return limit == 0 ? 0 : random_() % limit; }
    bool one_in(unsigned chances) { return below(chances) == 0; }
    template <class T>
    T get(std::uint64_t at) const;
    template <class T>
    void put(std::uint64_t at, T value);

    void read_header();
    std::uint64_t some_cluster();
    std::uint64_t odd_value(std::uint64_t old);
    Place some_entry(std::uint64_t table, std::uint64_t entries, std::uint64_t entry_bytes);
    Place some_l2_entry();
    Place bitmaps_extension();

    void change_header_field();
    void change_features();
    void change_extension();
    std::uint64_t insert_extension(std::uint32_t type, std::uint32_t length);
    void add_extension();
    void add_pin();
    void change_l1();
    void change_l2();
    void change_subclusters();
    void change_compressed();
    void change_refcount_table();
    void change_refcount_block();
    void change_snapshot();
    void change_bitmap_directory();
    void change_bitmap_table();
    void change_clusters();
    void change_tail();

    Bytes image_;
    std::size_t bytes_max_;
    std::minstd_rand random_;
    qcow2::disk::Header header_{};
    qcow2::Geometry geometry_;
};

}  // namespace qimg::fuzz
