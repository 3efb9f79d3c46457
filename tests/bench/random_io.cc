// Random requests to an image through the library, without a program around it: reads by one thread and by
// several, writes to clusters that have space and to clusters that get it. Google Benchmark counts.
// SPDX-License-Identifier: Apache-2.0
#include <benchmark/benchmark.h>
#include <stdlib.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "qimg/image.hpp"
#include "qimg/operations/create.hpp"

namespace qimg {

namespace {

constexpr std::uint64_t disk_bytes = 1 * GiB;

// Any failure ends the program: figures of requests that failed are worth nothing.
template <typename T>
T checked(Result<T> result) {
    if (!result) {
        std::fprintf(stderr, "random_io: %s\n", result.error().message.c_str());
        std::exit(1);
    }
    if constexpr (!std::is_void_v<T>) return std::move(*result);
}

std::unique_ptr<Image> open_image(const std::string& path) {
    OpenOptions options;
    options.format = "qcow2";
    options.access = Access::read_write;
    return checked(Image::open(path, options));
}

// An image in a folder that is gone afterwards.
class TestImage {
  public:
    explicit TestImage(bool filled) {
        std::string folder = (std::filesystem::temp_directory_path() / "qimg-bench-XXXXXX").string();
        if (mkdtemp(folder.data()) == nullptr) std::exit(1);
        folder_ = folder;
        CreateOptions options;
        options.path = folder_ / "image.qcow2";
        options.format = "qcow2";
        options.size = disk_bytes;
        checked(create(options));
        image_ = open_image(options.path);
        const std::vector<std::byte> piece(4 * MiB, std::byte{85});
        for (std::uint64_t at = 0; filled && at < disk_bytes; at += piece.size())
            checked(image_->write(GuestOffset(at), piece));
        checked(image_->flush());
    }
    ~TestImage() {
        image_.reset();
        std::error_code ignored;
        std::filesystem::remove_all(folder_, ignored);
    }
    TestImage(const TestImage&) = delete;
    TestImage& operator=(const TestImage&) = delete;

    Image& operator*() const { return *image_; }

  private:
    std::filesystem::path folder_;
    std::unique_ptr<Image> image_;
};

// Places in an order that looks like none: an odd number of units further each time, all of them before one
// comes twice. Each thread begins somewhere else.
class Places {
  public:
    Places(std::uint64_t unit, int thread)
        : unit_(unit), count_(disk_bytes / unit), index_(count_ / 64 * static_cast<unsigned>(thread)) {}

    GuestOffset next() {
        index_ = (index_ + (count_ * 618 / 1000 | 1)) % count_;
        return GuestOffset(index_ * unit_);
    }
    std::uint64_t count() const { return count_; }

  private:
    std::uint64_t unit_;
    std::uint64_t count_;
    std::uint64_t index_;
};

void count_bytes(benchmark::State& state) {
    state.SetBytesProcessed(state.iterations() * state.range(0));
}

void random_reads(benchmark::State& state) {
    static const TestImage image(true);
    std::vector<std::byte> buffer(static_cast<std::size_t>(state.range(0)));
    Places places(buffer.size(), state.thread_index());
    for (auto _ : state)
        checked((*image).read(places.next(), buffer));
    count_bytes(state);
}

void random_writes(benchmark::State& state) {
    static const TestImage image(true);
    const std::vector<std::byte> buffer(static_cast<std::size_t>(state.range(0)), std::byte{7});
    Places places(buffer.size(), 0);
    for (auto _ : state)
        checked((*image).write(places.next(), buffer));
    count_bytes(state);
}

// A new image each time that all clusters of the old one have space; the making is not timed.
void random_writes_allocating(benchmark::State& state) {
    const std::vector<std::byte> buffer(static_cast<std::size_t>(state.range(0)), std::byte{7});
    auto image = std::make_unique<TestImage>(false);
    Places places(64 * KiB, 0);
    std::uint64_t written = 0;
    for (auto _ : state) {
        if (written++ == places.count()) {
            state.PauseTiming();
            image = std::make_unique<TestImage>(false);
            written = 1;
            state.ResumeTiming();
        }
        checked((**image).write(places.next(), buffer));
    }
    count_bytes(state);
}

BENCHMARK(random_reads)->Arg(4 * KiB)->Arg(64 * KiB)->Threads(1)->Threads(2)->Threads(32)->UseRealTime();
BENCHMARK(random_writes)->Arg(4 * KiB)->Arg(64 * KiB)->UseRealTime();
BENCHMARK(random_writes_allocating)->Arg(4 * KiB)->Arg(64 * KiB)->UseRealTime();

}  // namespace

}  // namespace qimg

BENCHMARK_MAIN();
