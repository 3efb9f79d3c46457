// Is the log at rest? Its units carry the number of the cycle in which they were written; where that falls, its head
// is. What precedes the head must be the record that unmounting leaves, with all around it in order: then there is
// nothing to replay, whatever the log holds besides.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <optional>
#include <vector>

#include "base/bytes.hpp"
#include "base/try.hpp"
#include "guest/xfs/geometry.hpp"

namespace qimg::guest::xfs {

namespace {

// As much as can be under way at once: 8 buffers of 256 KiB.
constexpr std::uint32_t in_flight_units = 4096;
// A header for every 32 KiB, and what an operation without content takes with a stripe of 256 KiB.
constexpr std::uint32_t header_units_max = 8;
constexpr std::uint32_t unmount_units_max = header_units_max + 512;
constexpr std::uint32_t header_covers_bytes = 32 * 1024;

std::unexpected<Error> not_at_rest() {
    return fail(
        ErrorKind::in_use,
        "the file system's log was not replayed: it is mounted or was not unmounted cleanly; start and shut "
        "down its machine once, or mount and unmount it");
}

class Log {
  public:
    Log(const Volume& volume, const Superblock& superblock)
        : volume_(volume),
          raw_(superblock.raw),
          start_(superblock.geometry.block_at(superblock.geometry.log_group, superblock.geometry.log_start)),
          units_(static_cast<std::uint32_t>(std::uint64_t{superblock.geometry.log_blocks} *
                                            superblock.geometry.block_bytes / disk::log_unit)) {}

    Result<std::uint64_t> check() {
        TRY(find_head());
        TRY(check_surroundings());
        TRY(check_last_record());
        return std::uint64_t{first_cycle_} << 32 | head_;
    }

  private:
    using Unit = std::array<std::byte, disk::log_unit>;

    Result<Unit> read(std::uint32_t unit) const {
        Unit bytes;
        TRY(volume_.read(start_ + std::uint64_t{unit} * disk::log_unit, bytes));
        return bytes;
    }

    static std::uint32_t cycle_of(std::span<const std::byte> unit) {
        const std::uint32_t first = load<be32>(unit);
        return first == disk::log_record_magic ? std::uint32_t{load<be32>(unit.subspan(4))} : first;
    }

    Result<std::uint32_t> cycle_at(std::uint32_t unit) const {
        const Unit bytes = TRY(read(unit));
        return cycle_of(bytes);
    }

    std::uint32_t before(std::uint32_t unit, std::uint32_t units) const {
        return unit >= units ? unit - units : unit + units_ - units;
    }

    // The units before the head have the first one's cycle, the others that before it.
    Result<void> find_head() {
        first_cycle_ = TRY(cycle_at(0));
        const std::uint32_t last = TRY(cycle_at(units_ - 1));
        if (first_cycle_ == 0) return fail(ErrorKind::unsupported, "the file system's log has no records");
        if (last != first_cycle_ && last != first_cycle_ - 1) return not_at_rest();
        std::uint32_t low = 0, high = units_;
        while (low < high && last != first_cycle_) {
            const std::uint32_t middle = low + (high - low) / 2;
            const std::uint32_t cycle = TRY(cycle_at(middle));
            if (cycle == first_cycle_)
                low = middle + 1;
            else
                high = middle;
        }
        head_ = high;
        return {};
    }

    // Behind the head there may be a gap that was cleared, or older cycles.
    bool is_in_order(std::uint32_t unit, std::uint32_t cycle, bool is_behind_head) const {
        if (unit < head_) return cycle == first_cycle_;
        return is_behind_head ? cycle < first_cycle_ : cycle == first_cycle_ - 1;
    }

    // After a crash, buffers that were under way may be there or not, in any order.
    Result<void> check_surroundings() const {
        const std::uint32_t reach = std::min(in_flight_units, units_ / 2);
        Bytes many(std::size_t{256} * disk::log_unit);
        std::uint32_t unit = before(head_ % units_, reach);
        for (std::uint32_t left = 2 * reach; left > 0;) {
            const std::uint32_t count = std::min({256u, left, units_ - unit});
            const auto part = std::span(many).first(std::size_t{count} * disk::log_unit);
            TRY(volume_.read(start_ + std::uint64_t{unit} * disk::log_unit, part));
            for (std::uint32_t i = 0; i < count; ++i) {
                const std::uint32_t cycle =
                    cycle_of(std::span(part).subspan(std::size_t{i} * disk::log_unit));
                if (!is_in_order(unit + i, cycle, left - i <= reach)) return not_at_rest();
            }
            left -= count;
            unit = (unit + count) % units_;
        }
        return {};
    }

    Result<void> check_last_record() const {
        for (std::uint32_t back = 2; back <= std::min(unmount_units_max, units_); ++back) {
            const std::uint32_t unit = before(head_ % units_, back);
            const Unit bytes = TRY(read(unit));
            const auto record = load<disk::LogRecord>(bytes);
            if (record.magic == disk::log_record_magic) return check_unmount(record, unit, back);
        }
        return not_at_rest();
    }

    Result<void> check_unmount(const disk::LogRecord& record, std::uint32_t unit, std::uint32_t back) const {
        const std::uint64_t lsn = std::uint64_t{record.cycle} << 32 | unit;
        if (record.lsn != lsn || record.operations != 1 || record.uuid != raw_.uuid) return not_at_rest();
        const std::uint64_t covered = record.buffer_bytes;
        const std::uint64_t headers =
            covered <= header_covers_bytes ? 1 : (covered + header_covers_bytes - 1) / header_covers_bytes;
        const std::uint64_t content = (std::uint64_t{record.bytes} + disk::log_unit - 1) / disk::log_unit;
        if (headers > header_units_max || content == 0 || headers + content != back) return not_at_rest();
        const Unit bytes = TRY(read(static_cast<std::uint32_t>((unit + headers) % units_)));
        if ((load<disk::LogOperation>(bytes).flags & disk::log_unmount) == 0) return not_at_rest();
        return {};
    }

    const Volume& volume_;
    const disk::Superblock& raw_;
    std::uint64_t start_;
    std::uint32_t units_;
    std::uint32_t first_cycle_ = 0;
    std::uint32_t head_ = 0;  // units_ when the last unit ends the record
};

}  // namespace

Result<std::uint64_t> check_log(const Volume& volume, const Superblock& superblock) {
    return Log(volume, superblock).check();
}

}  // namespace qimg::guest::xfs
