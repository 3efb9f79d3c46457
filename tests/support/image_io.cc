// image_io: guest reads and writes on an image from a script on standard input, for tests.
//
//   write OFFSET LENGTH BYTE | zero OFFSET LENGTH | zero-keep OFFSET LENGTH | discard OFFSET LENGTH | flush
//   dump FILE     the whole disk's content to FILE
// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <iostream>
#include <string>

#include "base/bytes.hpp"
#include "base/try.hpp"
#include "qimg/image.hpp"

using namespace qimg;

namespace {

Result<void> dump(const Image& image, const std::string& path) {
    const auto file = TRY(create_file(path));
    Bytes buffer(MiB);
    for (std::uint64_t at = 0; at < image.size(); at += buffer.size()) {
        const auto part = std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), image.size() - at));
        TRY(image.read(GuestOffset(at), part));
        TRY(file->write(HostOffset(at), part));
    }
    return file->commit();
}

Result<void> run(Image& image, const std::string& verb) {
    if (verb == "flush") return image.flush();
    if (verb == "dump") {
        std::string path;
        std::cin >> path;
        return dump(image, path);
    }
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
    std::cin >> offset >> length;
    const GuestRange range(GuestOffset(offset), length);
    if (verb == "zero") return image.write_zeroes(range);
    if (verb == "zero-keep") return image.write_zeroes(range, Zeroing::keep_space);
    if (verb == "discard") return image.discard(range);
    if (verb != "write") return fail(ErrorKind::invalid_argument, "unknown verb " + verb);
    unsigned value = 0;
    std::cin >> value;
    return image.write(range.start, Bytes(length, static_cast<std::byte>(value)));
}

Result<void> run_all(const std::string& path, bool writable) {
    OpenOptions options;
    options.access = writable ? Access::read_write : Access::read_only;
    const auto image = TRY(Image::open(path, options));
    for (std::string verb; std::cin >> verb;) {
        TRY(run(*image, verb));
    }
    return writable ? image->flush() : Result<void>();
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fputs("usage: image_io ro|rw IMAGE\n", stderr);
        return 2;
    }
    const auto done = run_all(argv[2], std::string(argv[1]) == "rw");
    if (!done) std::fprintf(stderr, "image_io: %s\n", done.error().message.c_str());
    return done ? 0 : 1;
}
