// Offsets and ranges that know which address space they belong to.
//
// A guest offset addresses the virtual disk that a machine sees; a host offset addresses a file. Mixing
// them is the classic mistake of image code, so here it does not compile. All numbers are bytes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <compare>
#include <cstdint>

namespace qimg {

inline constexpr std::uint64_t KiB = 1024;
inline constexpr std::uint64_t MiB = 1024 * KiB;
inline constexpr std::uint64_t GiB = 1024 * MiB;
inline constexpr std::uint64_t TiB = 1024 * GiB;
inline constexpr std::uint64_t sector_bytes = 512;

struct GuestSpace;
struct HostSpace;

// A byte position in one address space. Differences of two offsets are plain byte counts.
template <class Space>
struct Offset {
    std::uint64_t bytes = 0;

    constexpr Offset() = default;
    constexpr explicit Offset(std::uint64_t value) : bytes(value) {}

    friend constexpr auto operator<=>(Offset, Offset) = default;
    friend constexpr Offset operator+(Offset a, std::uint64_t n) { return Offset(a.bytes + n); }
    friend constexpr Offset operator-(Offset a, std::uint64_t n) { return Offset(a.bytes - n); }
    friend constexpr std::uint64_t operator-(Offset a, Offset b) { return a.bytes - b.bytes; }
    constexpr Offset& operator+=(std::uint64_t n) {
        bytes += n;
        return *this;
    }
};

// The half-open range [start, start + length).
template <class Space>
struct Range {
    Offset<Space> start;
    std::uint64_t length = 0;

    constexpr Range() = default;
    constexpr Range(Offset<Space> first, std::uint64_t bytes) : start(first), length(bytes) {}
    static constexpr Range between(Offset<Space> first, Offset<Space> last) {
        return Range(first, last > first ? last - first : 0);
    }

    constexpr Offset<Space> end() const { return start + length; }
    constexpr bool empty() const { return length == 0; }
    constexpr bool contains(Offset<Space> at) const { return at >= start && at < end(); }
    friend constexpr bool operator==(Range, Range) = default;
};

template <class Space>
constexpr Range<Space> intersection(Range<Space> a, Range<Space> b) {
    return Range<Space>::between(std::max(a.start, b.start), std::min(a.end(), b.end()));
}

using GuestOffset = Offset<GuestSpace>;
using HostOffset = Offset<HostSpace>;
using GuestRange = Range<GuestSpace>;
using HostRange = Range<HostSpace>;

// `unit` is a power of two; the sum must fit, which callers check for numbers that come from files.
constexpr std::uint64_t round_down(std::uint64_t value, std::uint64_t unit) {
    return value & ~(unit - 1);
}
constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t unit) {
    return round_down(value + unit - 1, unit);
}
constexpr std::uint64_t divide_up(std::uint64_t value, std::uint64_t unit) {
    return value / unit + (value % unit != 0 ? 1 : 0);
}
constexpr bool is_aligned(std::uint64_t value, std::uint64_t unit) {
    return (value & (unit - 1)) == 0;
}

}  // namespace qimg
