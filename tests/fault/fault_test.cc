// Every command that changes an image in place, with each call of its storage failing once, with EIO or a full
// disk, or done by half: the error is told, the image is whole, and guests see the old or the new content.
// QIMG_SEED draws the images that each command is tried on; QIMG_LONG=1 tries all.
// SPDX-License-Identifier: Apache-2.0
#include "support/environment.hpp"
#include "support/verdict.hpp"

using namespace qimg;
using namespace qimg::test;

namespace {

constexpr std::size_t images_in_short = 2;  // that each command is tried on
constexpr std::size_t calls_in_short = 24;  // of each sort that fail, drawn by the seed
constexpr std::size_t calls_of_large = 200;
constexpr std::uint64_t large_bytes = 4 * MiB;

std::vector<CallFault> faults_for(std::size_t reads, std::size_t changes) {
    using Kind = CallFault::Kind;
    std::vector<CallFault> all;
    for (std::size_t i = 0; i < changes; ++i) {
        all.push_back({i, false, Kind::fails, ErrorKind::io, false});
        all.push_back({i, false, Kind::fails, ErrorKind::no_space, true});
        all.push_back({i, false, Kind::falls_short, ErrorKind::no_space, false});
    }
    for (std::size_t i = 0; i < reads; ++i)
        all.push_back({i, true, Kind::fails, ErrorKind::io, false});
    return all;
}

std::uint64_t size_of(const Folder& folder) {
    std::uint64_t bytes = 0;
    for (const auto& [name, content] : folder)
        bytes += content.size();
    return bytes;
}

void try_fault(const TestImage& image, const TestCommand& command, const Change& change,
               const CallFault& fault) {
    CAPTURE(fault.number);
    CAPTURE(fault.reading);
    CAPTURE(static_cast<int>(fault.error));
    CAPTURE(fault.stays);
    RecordedFolder files(image.files);
    files.set_fault(fault);
    const auto done = command.run(files);
    if (done) {
        // what is only a help, such as a pin of an image that is not otherwise needed, may be unreadable
        CHECK(fault.reading);
        const auto now = read_contents(files.content(), image.watched);
        REQUIRE_MESSAGE(now, (now ? "" : now.error().message));
        Contents wanted = change.after;
        for (auto& [name, content] : wanted) {
            if (now->at(name).pin.empty()) content.pin.clear();
        }
        CHECK(*now == wanted);
        return;
    }
    // as the storage says it, or in qemu-img's words: why alone
    const std::string why =
        fault.error == ErrorKind::no_space ? "No space left on device" : "Input/output error";
    const std::string& said = done.error().message;
    CHECK_MESSAGE((said.ends_with("the test's fault") || said.ends_with(why)), said);
    CHECK(done.error().kind == fault.error);
    const Verdict verdict = judge(files.content(), change, fault.number * 7919);
    CHECK_MESSAGE(verdict.corrupt.empty(), verdict.corrupt);
    CHECK_MESSAGE(verdict.lost.empty(), verdict.lost);
}

}  // namespace

TEST_CASE("a command whose storage fails tells so and leaves the old or the new content") {
    const std::uint64_t seed = from_environment("QIMG_SEED", 1);
    const bool is_long = from_environment("QIMG_LONG", 0) != 0;
    std::mt19937_64 random(seed);
    std::uint64_t faults_tried = 0;
    const std::vector<TestImage> images = test_images();
    for (const TestCommand& command : test_commands()) {
        CAPTURE(command.name);
        CAPTURE(seed);
        std::vector<const TestImage*> order;
        for (const TestImage& image : images) {
            if (is_long || size_of(image.files) < large_bytes) order.push_back(&image);
        }
        std::shuffle(order.begin(), order.end(), random);
        std::size_t tried = 0;
        for (const TestImage* image : order) {
            if (!is_long && tried == images_in_short) break;
            CAPTURE(image->name);
            RecordedFolder whole(image->files);
            const auto change = undisturbed(*image, command, whole);
            REQUIRE_MESSAGE(change, (change ? "" : change.error().message));
            if (!*change) continue;
            ++tried;
            std::vector<CallFault> faults = faults_for(whole.reading_calls(), whole.changing_calls());
            std::shuffle(faults.begin(), faults.end(), random);
            const std::size_t limit = !is_long                              ? calls_in_short
                                      : size_of(image->files) < large_bytes ? faults.size()
                                                                            : calls_of_large;
            faults.resize(std::min(faults.size(), limit));
            for (const CallFault& fault : faults)
                try_fault(*image, command, **change, fault);
            faults_tried += faults.size();
        }
        CHECK(tried != 0);
    }
    MESSAGE("faults tried: ", faults_tried);
}
