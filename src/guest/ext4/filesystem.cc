// libext2fs reads and writes through an io_manager; ours takes a Volume.
// SPDX-License-Identifier: Apache-2.0
#include "guest/ext4/filesystem.hpp"

#include <fmt/core.h>

#include <charconv>
#include <optional>
#include <string>
#include <utility>

#include "base/try.hpp"

namespace qimg::guest::ext4 {

struct Filesystem::Line {
    explicit Line(Volume& to) : volume(&to) {}

    Volume* volume;
    std::optional<Error> error;  // the first
    std::string name;
    struct_io_channel channel{};
};

// open() of an io_manager is handed a name and nothing else, so the name tells where the Line is.
struct Filesystem::LineManager {
    static std::string name_of(const Line& line) {
        return fmt::format("{:x}", reinterpret_cast<std::uintptr_t>(&line));
    }

    static errcode_t open(const char* name, int, io_channel* channel) {
        const std::string_view text(name);
        std::uintptr_t address = 0;
        if (std::from_chars(text.data(), text.data() + text.size(), address, 16).ptr !=
            text.data() + text.size())
            return EXT2_ET_BAD_DEVICE_NAME;
        Line& line = *reinterpret_cast<Line*>(address);
        line.channel.magic = EXT2_ET_MAGIC_IO_CHANNEL;
        line.channel.manager = get();
        line.channel.name = line.name.data();
        line.channel.block_size = 1024;
        line.channel.refcount = 1;
        line.channel.private_data = &line;
        *channel = &line.channel;
        return 0;
    }

    static errcode_t close(io_channel) { return 0; }

    static errcode_t set_block_size(io_channel channel, int bytes) {
        channel->block_size = bytes;
        return 0;
    }

    // A negative count is one of bytes.
    static std::size_t bytes_of(io_channel channel, int count) {
        if (count < 0) return static_cast<std::size_t>(-std::int64_t{count});
        return static_cast<std::size_t>(count) * static_cast<std::size_t>(channel->block_size);
    }

    static errcode_t done(io_channel channel, Result<void> result, errcode_t code) {
        if (result) return 0;
        Line& line = *static_cast<Line*>(channel->private_data);
        if (!line.error) line.error = std::move(result).error();
        return code;
    }

    static errcode_t read(io_channel channel, unsigned long long block, int count, void* data) {
        const Line& line = *static_cast<const Line*>(channel->private_data);
        const std::span into(static_cast<std::byte*>(data), bytes_of(channel, count));
        const auto block_bytes = static_cast<std::uint64_t>(channel->block_size);
        return done(channel, line.volume->read(block * block_bytes, into), EXT2_ET_SHORT_READ);
    }

    static errcode_t write(io_channel channel, unsigned long long block, int count, const void* data) {
        const Line& line = *static_cast<const Line*>(channel->private_data);
        const std::span from(static_cast<const std::byte*>(data), bytes_of(channel, count));
        const auto block_bytes = static_cast<std::uint64_t>(channel->block_size);
        return done(channel, line.volume->write(block * block_bytes, from), EXT2_ET_SHORT_WRITE);
    }

    static errcode_t read_short(io_channel channel, unsigned long block, int count, void* data) {
        return read(channel, block, count, data);
    }

    static errcode_t write_short(io_channel channel, unsigned long block, int count, const void* data) {
        return write(channel, block, count, data);
    }

    static errcode_t flush(io_channel) { return 0; }

    // libext2fs takes it as one that it may change, and does not.
    static io_manager get() {
        static constinit struct_io_manager manager = [] {
            struct_io_manager m{};
            m.magic = EXT2_ET_MAGIC_IO_MANAGER;
            m.name = "volume";
            m.open = open;
            m.close = close;
            m.set_blksize = set_block_size;
            m.read_blk = read_short;
            m.write_blk = write_short;
            m.flush = flush;
            m.read_blk64 = read;
            m.write_blk64 = write;
            return m;
        }();
        return &manager;
    }
};

Filesystem::Filesystem(std::unique_ptr<Line> line) : line_(std::move(line)) {}
Filesystem::Filesystem(Filesystem&&) noexcept = default;
Filesystem& Filesystem::operator=(Filesystem&&) noexcept = default;
Filesystem::~Filesystem() = default;

Result<Filesystem> Filesystem::open(Volume& volume) {
    Filesystem opened(std::make_unique<Line>(volume));
    opened.line_->name = LineManager::name_of(*opened.line_);
    ext2_filsys fs = nullptr;
    // other machines were looked for already; libext2fs would open a device for it
    constexpr int flags = EXT2_FLAG_RW | EXT2_FLAG_64BITS | EXT2_FLAG_SKIP_MMP;
    const errcode_t code =
        ext2fs_open2(opened.line_->name.c_str(), nullptr, flags, 0, 0, LineManager::get(), &fs);
    TRY(opened.check(code, "opening"));
    opened.fs_.reset(fs);
    fs->flags &= ~EXT2_FLAG_MASTER_SB_ONLY;
    // the same bytes whenever it is done
    fs->now = fs->super->s_wtime != 0 ? static_cast<time_t>(fs->super->s_wtime) : 1;
    return opened;
}

Result<void> Filesystem::check(errcode_t code, std::string_view doing) const {
    if (code == 0) return {};
    if (line_->error) return std::unexpected(*line_->error);
    const std::int64_t index = code - et_ext2_error_table.base;
    if (code == EXT2_ET_NO_MEMORY) return fail(ErrorKind::io, "no memory for the file system's descriptors");
    const bool is_known = index >= 0 && index < et_ext2_error_table.n_msgs;
    return fail(ErrorKind::corrupt, fmt::format("{} the file system: {}; run e2fsck on it", doing,
                                                is_known ? std::string(et_ext2_error_table.msgs[index])
                                                         : fmt::format("error {}", code)));
}

Result<void> Filesystem::flush() {
    ext2fs_mark_super_dirty(fs_.get());
    return check(ext2fs_flush(fs_.get()), "writing");
}

}  // namespace qimg::guest::ext4
