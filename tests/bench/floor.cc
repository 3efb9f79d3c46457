// floor: moves bytes as a command of qimg's has to, and knows nothing about images: what the machine takes for that
// alone. All processors work; what is written is on the disk at the end.
//
//   floor write FILE PIECES BYTES STEP   PIECES pieces of BYTES, STEP bytes apart; FILE may be there
//   floor read FILE...                   all data of the files
//   floor copy FROM TO                   all data of FROM to the same places of TO, which may be there
//   floor move FROM TO                   the same, and then FROM becomes empty
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

namespace {

// Two buffers of it fit into the second-level cache of a processor.
constexpr std::uint64_t piece_bytes = 256 << 10;

struct Piece {
    int from = -1;
    int to = -1;
    std::uint64_t start = 0;
    std::uint64_t bytes = 0;
};

int opened(const char* path, int flags) {
    const int file = ::open(path, flags, 0644);
    if (file >= 0) return file;
    std::perror(path);
    std::exit(1);
}

void check(bool done) {
    if (done) return;
    std::perror("floor");
    std::exit(1);
}

// The file's data; holes are left out.
void add_data(std::vector<Piece>& pieces, int from, int to) {
    off_t at = 0;
    while ((at = ::lseek(from, at, SEEK_DATA)) >= 0) {
        const off_t end = ::lseek(from, at, SEEK_HOLE);
        check(end > at);
        for (auto start = static_cast<std::uint64_t>(at); start < static_cast<std::uint64_t>(end);
             start += piece_bytes)
            pieces.push_back(
                {from, to, start, std::min(piece_bytes, static_cast<std::uint64_t>(end) - start)});
        at = end;
    }
}

void move(const Piece& piece, std::vector<char>& buffer) {
    buffer.resize(piece.bytes);
    const auto at = static_cast<off_t>(piece.start);
    const auto bytes = static_cast<ssize_t>(piece.bytes);
    if (piece.from >= 0) check(::pread(piece.from, buffer.data(), piece.bytes, at) == bytes);
    if (piece.to >= 0) check(::pwrite(piece.to, buffer.data(), piece.bytes, at) == bytes);
}

void move_all(const std::vector<Piece>& pieces) {
    std::atomic<std::size_t> next = 0;
    const auto work = [&] {
        std::vector<char> buffer;
        for (std::size_t i = next++; i < pieces.size(); i = next++)
            move(pieces[i], buffer);
    };
    std::vector<std::jthread> others;
    for (unsigned i = 1; i < std::thread::hardware_concurrency() && i < pieces.size(); ++i)
        others.emplace_back(work);
    work();
}

void empty(const char* path) {
    const int file = opened(path, O_WRONLY);
    check(::ftruncate(file, 0) == 0 && ::fdatasync(file) == 0);
}

}  // namespace

int main(int count, char** words) {
    const std::string task = count > 2 ? words[1] : "";
    std::vector<Piece> pieces;
    int result = -1;
    if (task == "write" && count == 6) {
        result = opened(words[2], O_WRONLY | O_CREAT);
        const std::uint64_t number = std::strtoull(words[3], nullptr, 10);
        const std::uint64_t bytes = std::strtoull(words[4], nullptr, 10);
        const std::uint64_t step = std::strtoull(words[5], nullptr, 10);
        for (std::uint64_t i = 0; i < number; ++i)
            pieces.push_back({-1, result, i * step, bytes});
    } else if (task == "read") {
        for (int i = 2; i < count; ++i)
            add_data(pieces, opened(words[i], O_RDONLY), -1);
    } else if ((task == "copy" || task == "move") && count == 4) {
        result = opened(words[3], O_WRONLY | O_CREAT);
        add_data(pieces, opened(words[2], O_RDONLY), result);
    } else {
        std::fputs("floor write FILE PIECES BYTES STEP | read FILE... | copy|move FROM TO\n", stderr);
        return 2;
    }
    move_all(pieces);
    check(result < 0 || ::fdatasync(result) == 0);
    if (task == "move") empty(words[2]);
    return 0;
}
