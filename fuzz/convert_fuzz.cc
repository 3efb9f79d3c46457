// Converts arbitrary bytes, as an image with the files that its header names, into a new or an existing image of
// a kind that the last bytes choose. Guests see the same afterwards, or there is no new image.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/convert.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "format/qcow2/create.hpp"
#include "image_under_test.hpp"
#include "memory_opener.hpp"
#include "operations/snapshot_view.hpp"
#include "tail.hpp"

using namespace qimg;

namespace {

namespace fs = std::filesystem;

// New images are files, which have no name until they are complete.
class Folder {
  public:
    Folder() : path_(fs::temp_directory_path() / "qimg-fuzz-XXXXXX") {
        if (::mkdtemp(path_.data()) == nullptr) std::abort();
    }
    ~Folder() {
        std::error_code ignored;
        fs::remove_all(path_, ignored);
    }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    const std::string& path() const { return path_; }

  private:
    std::string path_;
};

const std::string& folder() {
    static const Folder made;
    return made.path();
}

// All in memory, except for what conversion makes.
class TargetOpener final : public fuzz::MemoryOpener {
  public:
    TargetOpener(std::span<const std::byte> image, std::string source, std::string target)
        : MemoryOpener(image, source), target_(std::move(target)) {}

    Result<std::unique_ptr<Storage>> open(const std::string& path, const FileOptions& options) override {
        if (path == target_ && fs::exists(path)) return open_file(path, options);
        return MemoryOpener::open(path, options);
    }

  private:
    std::string target_;
};

class Conversion {
  public:
    explicit Conversion(std::span<const std::uint8_t> bytes)
        : opener_(std::as_bytes(bytes), source_, target_), tail_(fuzz::tail_of(bytes)) {}

    void run() {
        options_.sources.push_back({source_, {}});
        auto source = Image::open(source_, {}, opener_);
        if (!source || (*source)->size() > fuzz::disk_bytes_max) return;
        choose(**source);
        const auto shown = read_source();
        if (is_too_large_) return;
        const std::uint64_t bytes = shown ? shown->size() : (*source)->size();
        if (options_.existing_target && !make_target(round_up(bytes, sector_bytes))) return;
        source->reset();
        const auto report = convert(options_, opener_);
        if (!report) {
            if (fs::exists(target_)) fail("a conversion that fails leaves no image");
            if (shown && !may_be_refused_) fail(report.error().message);
            return;
        }
        compare(shown);
        fs::remove(target_);
    }

  private:
    [[noreturn]] static void fail(std::string_view what) {
        fmt::print(stderr, "does not hold: {}\n", what);
        std::abort();
    }

    void choose(Image& source) {
        CreateOptions& target = options_.target;
        target.path = target_;
        target.format = tail_[0] % 2 == 0 ? "qcow2" : "raw";
        const bool is_qcow2 = target.format == "qcow2";
        options_.existing_target = tail_[1] % 4 == 0;
        options_.compress = is_qcow2 && tail_[2] % 2 == 0;
        if (options_.compress && tail_[2] % 16 == 0) options_.compression_level = 1 + tail_[3] % 9;
        constexpr std::array<std::uint64_t, 4> sparse = {4096, 0, 512, 64 * KiB};
        options_.sparse_bytes = sparse[tail_[3] % sparse.size()];
        options_.threads = 1 + tail_[4] % 2;
        options_.salvage = tail_[5] % 8 == 0;
        Qcow2Layout& layout = target.qcow2;
        layout.cluster_bytes = 512ull << tail_[6] % 10;
        layout.version = tail_[7] % 4 == 0 ? 2 : 3;
        if (layout.version == 3) {
            layout.refcount_bits = 1u << tail_[8] % 7;
            layout.extended_l2 = tail_[9] % 2 == 0 && layout.cluster_bytes >= 16 * KiB;
            layout.compression_type = tail_[9] % 4 < 2 ? "zlib" : "zstd";
        }
        if (tail_[10] % 4 == 0) target.preallocation = Preallocation::metadata;
        if (!is_qcow2 || options_.compress) target.preallocation = Preallocation::off;
        if (tail_[11] % 4 == 0)
            options_.part = GuestRange(GuestOffset(512ull * tail_[12]), 512ull * tail_[13]);
        if (tail_[14] % 4 == 0) choose_snapshot();
        options_.bitmaps = is_qcow2 && tail_[14] % 4 == 1;
        options_.skip_broken_bitmaps = tail_[14] % 8 == 1;
        if (tail_[15] % 2 == 0 && is_qcow2 && !options_.existing_target) choose_base(source);
        // bitmaps may be broken, or need a newer version; so may the snapshot
        may_be_refused_ = options_.bitmaps || target.qcow2.backing_file.has_value();
    }
    void choose_snapshot() {
        const auto list = snapshot_list({source_, {}, ""}, opener_);
        if (!list || list->empty()) return;
        options_.snapshot.emplace();
        options_.snapshot->id = list->front().id;
    }
    // The new image stands on what the old one stands on.
    void choose_base(Image& source) {
        if (source.backing() == nullptr) return;
        options_.target.qcow2.backing_file = source.backing()->path();
        options_.target.qcow2.backing_format = std::string(source.backing()->format_name());
    }

    // An image that has other content.
    bool make_target(std::uint64_t bytes) {
        auto file = memory_storage(target_);
        const bool is_raw = options_.target.format == "raw";
        if (is_raw ? !file->resize(bytes) : !qcow2::create_empty(*file, options_.target.qcow2, bytes))
            return false;
        opener_.add(target_, std::move(file));
        OpenOptions open;
        open.format = options_.target.format;
        open.access = Access::read_write;
        const auto image = Image::open(target_, open, opener_);
        return image && (*image)->write(GuestOffset(0), Bytes(bytes, std::byte{0xa5})) && (*image)->flush();
    }

    std::optional<Bytes> read_source() {
        const auto image = Image::open(source_, {}, opener_);
        if (!image || (options_.snapshot && !show_snapshot(**image, *options_.snapshot))) return std::nullopt;
        GuestRange shown(GuestOffset(0), (*image)->size());
        if (options_.part) shown = intersection(shown, *options_.part);
        is_too_large_ = shown.length > fuzz::disk_bytes_max;  // a snapshot may have a longer disk
        if (is_too_large_) return std::nullopt;
        Bytes disk(shown.length);
        if (!disk.empty() && !(*image)->read(shown.start, disk)) return std::nullopt;
        return disk;
    }

    // An existing target keeps what it has behind the end of the source.
    void compare(const std::optional<Bytes>& shown) {
        OpenOptions open;
        open.format = options_.target.format;
        const auto target = Image::open(target_, open, opener_);
        if (!target) fail(target.error().message);
        if (open.format == "qcow2") {
            const fuzz::ImageUnderTest made(opener_, target_);
            if (!made.is_clean()) made.broken("a new image is clean");
        }
        if (!shown && !options_.salvage) fail("what cannot be read is not converted");
        if (!shown) return;
        if ((*target)->size() < shown->size()) fail("the new disk is as long as the old one");
        Bytes disk(shown->size());
        const auto read = (*target)->read(GuestOffset(0), disk);
        if (!read) fail(read.error().message);
        if (disk != *shown) fail("guests see the same");
    }

    const std::string source_ = folder() + "/image";
    const std::string target_ = folder() + "/target";
    TargetOpener opener_;
    fuzz::Tail tail_;
    ConvertOptions options_;
    bool may_be_refused_ = false;
    bool is_too_large_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Conversion(std::span(data, size)).run();
    return 0;
}
