// An image with data, zeroes and a snapshot, in memory.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <doctest/doctest.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "format/qcow2/amend.hpp"
#include "format/qcow2/bitmap_changes.hpp"
#include "format/qcow2/check.hpp"
#include "format/qcow2/create.hpp"
#include "format/qcow2/empty.hpp"
#include "format/qcow2/resize.hpp"
#include "format/qcow2/snapshot_changes.hpp"
#include "format/raw/raw.hpp"
#include "qimg/image.hpp"
#include "support/content.hpp"
#include "support/recording_storage.hpp"

namespace qimg::test {

inline Bytes pattern(std::size_t count, unsigned seed) {
    std::mt19937 random(seed);
    Bytes out(count);
    for (std::byte& b : out)
        b = static_cast<std::byte>(random());
    return out;
}

// What an overlay's header names; it has no zeroes that could be mistaken for its own.
inline std::unique_ptr<Image> backing_image() {
    auto storage = memory_storage();
    REQUIRE(storage->write(HostOffset(0), pattern(160 * KiB, 9)));
    auto format = raw::open(std::move(storage));
    REQUIRE(format);
    return std::make_unique<Image>("base", std::move(*format), nullptr);
}

// What stands below an image that names a backing file.
enum class Below { something, nothing };

inline std::unique_ptr<Image> open_image(Storage& file, bool writable, Below below = Below::something) {
    qcow2::Qcow2Options options;
    options.writable = writable;
    auto format = qcow2::Qcow2::open(borrow_storage(file), options);
    REQUIRE_MESSAGE(format, (format ? "" : format.error().message));
    std::unique_ptr<Image> backing;
    if ((*format)->backing_file() && below == Below::something) backing = backing_image();
    return std::make_unique<Image>("image", std::move(*format), std::move(backing));
}

inline qcow2::Qcow2& as_qcow2(Image& image) {
    return dynamic_cast<qcow2::Qcow2&>(image.format());
}

inline Bytes read_disk(const Image& image) {
    Bytes disk(image.size());
    const auto read = image.read(GuestOffset(0), disk);
    REQUIRE_MESSAGE(read, (read ? "" : read.error().message));
    return disk;
}

inline Content read_content(Storage& file) {
    auto content = read_content([&](bool backed) -> Result<std::unique_ptr<Image>> {
        return open_image(file, false, backed ? Below::something : Below::nothing);
    });
    REQUIRE_MESSAGE(content, (content ? "" : content.error().message));
    return std::move(*content);
}

// Calls steps until one fails, and stores what they did.
inline Result<void> edit_bitmaps(
    Image& image, const std::vector<std::function<Result<void>(qcow2::BitmapEditor&)>>& steps) {
    auto editor = qcow2::BitmapEditor::open(as_qcow2(image));
    if (!editor) return std::unexpected<Error>(editor.error());
    for (const auto& step : steps) {
        const auto done = step(*editor);
        if (!done) return done;
    }
    return editor->store();
}

// A disk with data and zeroes, a snapshot, and changes since.
inline Bytes starting_image(const Qcow2Layout& layout) {
    RecordingStorage file;
    REQUIRE(qcow2::create_empty(file, layout, 160 * KiB));
    const auto image = open_image(file, true);
    REQUIRE(image->write(GuestOffset(0), pattern(90000, 1)));
    REQUIRE(image->write_zeroes(GuestRange(GuestOffset(10000), 9000)));
    REQUIRE(image->flush());
    REQUIRE(qcow2::create_snapshot(as_qcow2(*image), "first", {}));
    REQUIRE(image->write(GuestOffset(20000), pattern(60000, 2)));
    REQUIRE(image->write_zeroes(GuestRange(GuestOffset(30000), 9000), Zeroing::keep_space));
    REQUIRE(image->flush());
    return file.content();
}

}  // namespace qimg::test
