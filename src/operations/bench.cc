// Requests to an image against the clock.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/bench.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <vector>

#include "base/bytes.hpp"
#include "base/text.hpp"
#include "base/try.hpp"

namespace qimg {

namespace {

constexpr unsigned threads_max = 64;
constexpr std::uint64_t buffers_bytes_max = 256 * MiB;

// Where the requests go.
class Requests {
  public:
    Requests(const Image& image, const BenchOptions& options) : image_(image), options_(options) {}

    Result<GuestOffset> place(std::uint64_t index) const {
        const std::uint64_t size = image_.size();
        std::uint64_t at = options_.start;
        // below 2^63 + 2^31 * 2^31
        if (index != 0 && size != 0) at = (options_.start + index * options_.step) % size;
        if (at <= size && options_.bytes <= size - at) return GuestOffset(at);
        return fail(ErrorKind::io,
                    fmt::format("{}: {} bytes at {} go past the end of the {}-byte disk",
                                printable(image_.path()), options_.bytes, at, size),
                    EIO);
    }

  private:
    const Image& image_;
    const BenchOptions& options_;
};

// Each thread takes the next request until there are none, or one has failed.
class Readers {
  public:
    Readers(const Image& image, const BenchOptions& options) : image_(image), options_(options) {}

    Result<void> run(std::size_t count) {
        std::vector<std::thread> threads;
        try {
            while (threads.size() + 1 < count)
                threads.emplace_back([this] { work(); });
        } catch (const std::system_error&) {
            // fewer will do
        }
        work();
        for (std::thread& thread : threads)
            thread.join();
        return failure_ ? std::unexpected<Error>(*failure_) : Result<void>();
    }

  private:
    void work() {
        Bytes buffer(options_.bytes);
        for (std::uint64_t index; !failed_ && (index = next_++) < options_.count;) {
            if (auto done = read(index, buffer); !done) {
                const std::lock_guard lock(mutex_);
                if (!failure_) failure_ = std::move(done).error();
                failed_ = true;
            }
        }
    }

    Result<void> read(std::uint64_t index, Bytes& buffer) const {
        const GuestOffset at = TRY(Requests(image_, options_).place(index));
        return image_.read(at, buffer);
    }

    const Image& image_;
    const BenchOptions& options_;
    std::atomic<std::uint64_t> next_ = 0;
    std::atomic<bool> failed_ = false;
    std::mutex mutex_;  // guards what follows
    std::optional<Error> failure_;
};

Result<void> write_all(Image& image, const BenchOptions& options) {
    const Requests requests(image, options);
    TRY(requests.place(0));  // before there is a buffer of that size
    const Bytes buffer(options.bytes, options.pattern);
    for (std::uint64_t index = 0; index < options.count; ++index) {
        const GuestOffset at = TRY(requests.place(index));
        TRY(image.write(at, buffer));
        if (options.flush_interval != 0 && (index + 1) % options.flush_interval == 0) TRY(image.flush());
    }
    return {};
}

Result<void> read_all(const Image& image, const BenchOptions& options) {
    TRY(Requests(image, options).place(0));
    const std::uint64_t in_memory =
        std::max<std::uint64_t>(buffers_bytes_max / std::max<std::uint64_t>(options.bytes, 1), 1);
    return Readers(image, options)
        .run(std::min({std::uint64_t{options.depth}, in_memory, std::uint64_t{threads_max}, options.count}));
}

}  // namespace

Result<BenchReport> bench(Image& image, const BenchOptions& options) {
    if (options.depth == 0) return fail(ErrorKind::invalid_argument, "at least one request goes at a time");
    const auto started = std::chrono::steady_clock::now();
    if (options.count != 0) TRY(options.write ? write_all(image, options) : read_all(image, options));
    const BenchReport report{std::chrono::steady_clock::now() - started};
    if (options.write) TRY(image.flush());
    return report;
}

}  // namespace qimg
