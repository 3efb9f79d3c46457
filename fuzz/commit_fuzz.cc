// Takes arbitrary bytes as an overlay, mends it, and commits it to the image below it, or to the one below that,
// which its last bytes choose. Guests see of the overlay what they saw, and the base has all of it.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/commit.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "format/qcow2/create.hpp"
#include "image_under_test.hpp"
#include "memory_opener.hpp"
#include "tail.hpp"

using namespace qimg;

namespace {

constexpr const char* deepest = "deepest";

class Commitment {
  public:
    explicit Commitment(std::span<const std::uint8_t> bytes)
        : opener_(std::as_bytes(bytes)), tail_(fuzz::tail_of(bytes)) {}

    void run() {
        if (!make_chain() || !overlay_.is_small() || !overlay_.become_clean()) return;
        const auto shown = overlay_.read_disk();
        const auto below = read_base();
        if (!shown || !below) return;
        CommitOptions options;
        options.path = "image";
        options.open.format = "qcow2";
        options.empty = tail_[0] % 4 != 0;
        if (base_depth_ == 2) options.base = deepest;
        const auto done = commit(options, opener_);
        if (overlay_.read_disk() != shown) overlay_.broken("guests see the same of the overlay");
        if (!done) return expect_whole();
        const auto base = read_base();
        if (!base) overlay_.broken("the base can be read");
        const std::size_t taken = std::min(base->size(), shown->size());
        // a base that grows does so in whole sectors
        const std::uint64_t wanted = round_up(shown->size(), sector_bytes);
        const std::uint64_t length = shown->size() > below->size() ? wanted : below->size();
        if (base->size() != length || !std::equal(shown->begin(), shown->end(), base->begin()))
            overlay_.broken("the base has what guests saw");
        const auto behind = static_cast<std::ptrdiff_t>(taken);
        if (base->size() == below->size() &&
            !std::equal(base->begin() + behind, base->end(), below->begin() + behind))
            overlay_.broken("the base has behind the overlay's end what it had");
        if (!overlay_.is_clean()) overlay_.broken("the overlay is clean");
        expect_whole();
    }

  private:
    // What the overlay stands on: a raw disk, an image, or an overlay on one of those.
    bool make_chain() {
        OpenOptions alone = overlay_.open_options(Access::read_only);
        alone.with_backing = false;
        const auto image = Image::open("image", alone, opener_);
        if (!image || !(*image)->format().backing_file()) return false;
        const std::string base = resolve_reference("image", *(*image)->format().backing_file());
        // its own name, or one that cannot be opened
        if (base == "image" || base == deepest) return false;
        const unsigned kind = tail_[1] % 4;
        if (kind == 0) return true;
        if (kind == 1) return make_image(base, std::nullopt);
        base_depth_ = 2;
        if (kind == 2 && !make_image(deepest, std::nullopt)) return false;
        return make_image(base, kind == 2 ? "qcow2" : "raw");
    }
    bool make_image(const std::string& path, const std::optional<std::string>& below) {
        Qcow2Layout layout;
        layout.cluster_bytes = 512ull << tail_[2] % 8;
        layout.refcount_bits = 1u << tail_[3] % 7;
        layout.extended_l2 = tail_[4] % 2 == 0 && layout.cluster_bytes >= 16 * KiB;
        if (below) {
            layout.backing_file = deepest;
            layout.backing_format = below;
        }
        auto file = memory_storage(path);
        if (!qcow2::create_empty(*file, layout, 512ull * (1 + tail_[5]))) return false;
        opener_.add(path, std::move(file));
        const auto image = fuzz::ImageUnderTest(opener_, path).open(Access::read_write);
        if (!image) return false;
        const Bytes content((*image)->size() / 3, static_cast<std::byte>(tail_[6]));
        const GuestOffset at((*image)->size() / 2);
        return (*image)->write(at, content) && (*image)->flush();
    }

    Image* base_of(Image& top) const {
        Image* image = &top;
        for (unsigned depth = 0; depth < base_depth_ && image != nullptr; ++depth)
            image = image->backing();
        return image;
    }
    std::optional<Bytes> read_base() const {
        const auto image = overlay_.open(Access::read_only);
        const Image* const base = image ? base_of(**image) : nullptr;
        if (base == nullptr || base->size() > fuzz::disk_bytes_max) return std::nullopt;
        Bytes disk(base->size());
        if (!base->read(GuestOffset(0), disk)) return std::nullopt;
        return disk;
    }
    // Nothing in the chain is corrupt.
    void expect_whole() {
        const auto image = overlay_.open(Access::read_only);
        if (!image) overlay_.broken("the overlay can be opened");
        for (Image* layer = image->get(); layer != nullptr; layer = layer->backing()) {
            if (layer->format_name() != "qcow2") continue;
            const fuzz::ImageUnderTest one(opener_, layer->path());
            const auto report = one.check_with(Repair::none);
            if (!report || report->corruptions != 0 || report->check_errors != 0)
                one.broken("no table of the chain is corrupt");
        }
    }

    fuzz::MemoryOpener opener_;
    fuzz::ImageUnderTest overlay_{opener_, "image"};
    fuzz::Tail tail_;
    unsigned base_depth_ = 1;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Commitment(std::span(data, size)).run();
    return 0;
}
