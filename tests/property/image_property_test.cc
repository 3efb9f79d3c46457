// Random operations on images against a plain byte vector. QIMG_SEED=N replays one run, QIMG_ROUNDS=N makes
// more of them.
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <map>
#include <optional>
#include <random>
#include <string>

#include "base/bytes.hpp"
#include "format/compression.hpp"
#include "format/qcow2/create.hpp"
#include "format/qcow2/qcow2.hpp"
#include "format/qcow2/resize.hpp"
#include "format/qcow2/snapshot_changes.hpp"
#include "format/raw/raw.hpp"
#include "operations/commit_draft.hpp"
#include "qimg/image.hpp"
#include "support/environment.hpp"

using namespace qimg;
using test::from_environment;

namespace {

struct Shape {
    std::string name;
    Qcow2Layout layout;
    std::uint64_t disk_bytes;
    std::optional<std::uint64_t> backing_bytes;
};

Qcow2Layout layout(unsigned version, std::uint64_t cluster_bytes, unsigned refcount_bits,
                   bool extended_l2 = false) {
    Qcow2Layout made;
    made.version = version;
    made.cluster_bytes = cluster_bytes;
    made.refcount_bits = refcount_bits;
    made.extended_l2 = extended_l2;
    return made;
}

Qcow2Layout with_data_file(bool raw) {
    Qcow2Layout made = layout(3, 4096, 16);
    made.data_file = "data";
    made.data_file_raw = raw;
    return made;
}

std::vector<Shape> shapes() {
    std::vector<Shape> all;
    for (unsigned bits : {1u, 2u, 4u, 8u, 16u, 32u, 64u}) {
        all.push_back({"512-byte clusters", layout(3, 512, bits), 300 * KiB, std::nullopt});
    }
    all.push_back({"version 2", layout(2, 512, 16), 300 * KiB, std::nullopt});
    all.push_back({"version 2, backing", layout(2, 1024, 16), 200 * KiB + 512, 300 * KiB});
    all.push_back({"shorter backing", layout(3, 512, 16), 300 * KiB, 100 * KiB + 512});
    all.push_back({"longer backing", layout(3, 4096, 8), 300 * KiB + 1536, 400 * KiB});
    all.push_back({"extended L2", layout(3, 16384, 16, true), 3 * MiB + 512, std::nullopt});
    all.push_back({"extended L2, backing", layout(3, 16384, 2, true), 3 * MiB, 2 * MiB + 512});
    all.push_back({"64 KiB clusters", layout(3, 65536, 16), 3 * MiB, std::nullopt});
    for (Shape& shape : all) {
        if (shape.backing_bytes) shape.layout.backing_file = "backing";
    }
    all.push_back({"data file", with_data_file(false), 600 * KiB, std::nullopt});
    all.push_back({"raw data file", with_data_file(true), 600 * KiB, std::nullopt});
    return all;
}

// One image in memory, what it should hold, and what its snapshots hold.
class Run {
  public:
    Run(const Shape& shape, std::uint64_t seed) : shape_(shape), random_(seed), model_(shape.disk_bytes) {
        file_ = memory_storage("image");
        data_ = memory_storage("data");
        REQUIRE(qcow2::create_empty(*file_, shape.layout, shape.disk_bytes));
        REQUIRE(data_->resize(shape.disk_bytes));
        if (shape.backing_bytes) {
            backing_ = memory_storage("backing");
            Bytes content = noise(*shape.backing_bytes);
            REQUIRE(backing_->write(HostOffset(0), content));
            content.resize(model_.size());
            model_ = content;
        }
        open();
    }

    void step() {
        switch (below(17)) {
            case 0:
                return reopen();
            case 1:
                return write_zeroes();
            case 2:
                return discard();
            case 3:
                return snapshot();
            case 4:
                return below(4) == 0 ? resize() : write();
            case 5:
                return compressed();
            case 6:
                return below(3) == 0 ? draft() : write();
            default:
                return write();
        }
    }

    void compare() {
        Bytes content(model_.size());
        const auto read = image_->read(GuestOffset(0), content);
        REQUIRE_MESSAGE(read, (read ? "" : read.error().message));
        REQUIRE(content == model_);
    }

    void reopen() {
        must(image_->flush());
        open();
        compare();
    }

  private:
    std::uint64_t below(std::uint64_t limit) {
        return std::uniform_int_distribution<std::uint64_t>(0, limit - 1)(random_);
    }

    Bytes noise(std::size_t count) {
        Bytes out(count);
        for (std::byte& b : out)
            b = static_cast<std::byte>(random_());
        return out;
    }

    static void must(const Result<void>& result) {
        REQUIRE_MESSAGE(result, (result ? "" : result.error().message));
    }

    void open() {
        image_.reset();
        qcow2::Qcow2Options options;
        options.writable = true;
        options.open_data_file = [&](const std::optional<std::string>&) -> Result<std::unique_ptr<Storage>> {
            return borrow_storage(*data_);
        };
        auto opened = qcow2::Qcow2::open(borrow_storage(*file_), options);
        REQUIRE_MESSAGE(opened, (opened ? "" : opened.error().message));
        format_ = opened->get();
        std::unique_ptr<Image> below_it;
        if (backing_) {
            below_it =
                std::make_unique<Image>("backing", raw::open(borrow_storage(*backing_)).value(), nullptr);
        }
        image_ = std::make_unique<Image>("image", std::move(*opened), std::move(below_it));
    }

    GuestRange some_range() {
        const std::uint64_t start = below(model_.size());
        std::uint64_t longest = below(3) == 0 ? 8 * shape_.layout.cluster_bytes : 2048;
        longest = std::min(longest, model_.size() - start);
        return GuestRange(GuestOffset(start), 1 + below(longest));
    }

    std::span<std::byte> model_part(GuestRange range) {
        return std::span(model_).subspan(range.start.bytes, range.length);
    }

    void write() {
        const GuestRange range = some_range();
        const Bytes data = noise(range.length);
        must(image_->write(range.start, data));
        std::copy(data.begin(), data.end(), model_part(range).begin());
    }

    void write_zeroes() {
        const GuestRange range = some_range();
        must(image_->write_zeroes(range, static_cast<Zeroing>(below(3))));
        std::ranges::fill(model_part(range), std::byte{0});
    }

    // A discarded byte keeps its value or becomes zero; which one it was, the image must stick to.
    void discard() {
        const GuestRange range = some_range();
        must(image_->discard(range));
        Bytes now(range.length);
        must(image_->read(range.start, now));
        const auto old = model_part(range);
        for (std::size_t i = 0; i < now.size(); ++i)
            REQUIRE((now[i] == old[i] || now[i] == std::byte{0}));
        std::copy(now.begin(), now.end(), old.begin());
    }

    void compressed() {
        const std::uint64_t unit = shape_.layout.cluster_bytes;
        if (shape_.layout.data_file || model_.size() < unit) return;
        const GuestOffset at(below(model_.size() / unit) * unit);
        // half of it noise, so that several share a host cluster, and some do not fit behind the last one
        Bytes data = noise(unit);
        std::fill(data.begin(), data.begin() + static_cast<std::ptrdiff_t>(unit / 2), std::byte{7});
        const auto compressor = make_compressor(Codec::zlib, std::nullopt).value();
        const auto packed = compressor->compress(data);
        if (!packed) return;
        must(format_->write_compressed(at, *packed));
        std::copy(data.begin(), data.end(), model_part(GuestRange(at, unit)).begin());
    }

    void snapshot() {
        if (shape_.layout.data_file) return;
        if (snapshots_.empty() || (snapshots_.size() < 3 && below(2) == 0)) {
            const std::string name = "s" + std::to_string(count_++);
            const auto taken = qcow2::create_snapshot(*format_, name, {});
            if (taken) {
                snapshots_[name] = model_;
            } else {
                // the refcounts are too narrow; whatever was counted up is dropped with the image in memory
                REQUIRE(taken.error().kind == ErrorKind::unsupported);
                open();
            }
        } else {
            auto chosen =
                std::next(snapshots_.begin(), static_cast<std::ptrdiff_t>(below(snapshots_.size())));
            if (below(2) == 0) {
                const auto applied = qcow2::apply_snapshot(*format_, chosen->first);
                if (applied) {
                    model_ = chosen->second;
                } else {
                    REQUIRE(applied.error().kind == ErrorKind::unsupported);
                    open();
                }
            } else {
                must(qcow2::delete_snapshot(*format_, chosen->first));
                snapshots_.erase(chosen);
            }
        }
        compare();
    }

    void resize() {
        if (shape_.layout.version == 2 || shape_.backing_bytes) return;
        const std::uint64_t bytes = round_up(shape_.disk_bytes / 2 + below(shape_.disk_bytes), 512);
        if (bytes < model_.size()) {
            const std::uint64_t end =
                std::min<std::uint64_t>(round_up(bytes, shape_.layout.cluster_bytes), model_.size());
            must(qcow2::shrink(*format_, bytes, [&] {
                return image_->write_zeroes(GuestRange(GuestOffset(bytes), end - bytes));
            }));
            model_.resize(bytes);
        } else if (bytes > model_.size()) {
            const std::uint64_t old = model_.size();
            const std::uint64_t end = std::min(bytes, round_up(old, shape_.layout.cluster_bytes));
            must(qcow2::grow(*format_, bytes, [&]() -> Result<void> {
                return end > old ? image_->write_zeroes(GuestRange(GuestOffset(old), end - old))
                                 : Result<void>();
            }));
            model_.resize(bytes);
        }
        compare();
    }

    // Several changes, and perhaps a longer disk, in one step.
    void draft() {
        if (shape_.layout.data_file) return;
        const bool may_grow = shape_.layout.version > 2 && model_.size() < 2 * shape_.disk_bytes;
        const std::uint64_t longer = may_grow ? 512 * below(100) : 0;
        must(image_->flush());
        const auto made = open_draft(*image_, model_.size() + longer);
        REQUIRE(made);
        model_.resize(model_.size() + longer);
        for (std::uint64_t left = 1 + below(8); left > 0; --left) {
            const GuestRange range = some_range();
            const auto part = model_part(range);
            std::ranges::copy(below(3) == 0 ? Bytes(range.length) : noise(range.length), part.begin());
            must(is_zero(part) ? (*made)->write_zeroes(range.start.bytes, range.length)
                               : (*made)->write(range.start.bytes, part));
        }
        must(commit_draft(*image_, **made));
        compare();
    }

    const Shape& shape_;
    std::mt19937_64 random_;
    Bytes model_;
    std::unique_ptr<Storage> file_;
    std::unique_ptr<Storage> data_;
    std::unique_ptr<Storage> backing_;
    std::unique_ptr<Image> image_;
    qcow2::Qcow2* format_ = nullptr;
    std::map<std::string, Bytes> snapshots_;
    int count_ = 0;
};

}  // namespace

TEST_CASE("random operations read back as on a plain byte vector") {
    const std::uint64_t rounds = from_environment("QIMG_ROUNDS", 3);
    const std::uint64_t first_seed = from_environment("QIMG_SEED", 1);
    for (const Shape& shape : shapes()) {
        for (std::uint64_t seed = first_seed; seed < first_seed + rounds; ++seed) {
            CAPTURE(shape.name);
            CAPTURE(shape.layout.refcount_bits);
            CAPTURE(seed);
            Run run(shape, seed);
            for (int i = 0; i < 120; ++i) {
                CAPTURE(i);
                run.step();
                if (i % 10 == 0) run.compare();
            }
            run.reopen();
        }
    }
}
