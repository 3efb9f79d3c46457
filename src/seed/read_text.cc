// Reads what a seed is made of: files, FIFOs (as a shell's <(…) makes them), standard input.
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>

#include <array>
#include <cerrno>

#include "base/fd.hpp"
#include "base/text.hpp"
#include "qimg/seed.hpp"

namespace qimg {

Result<SeedText> read_seed_text(const std::string& path) {
    const bool standard_input = path == "-";
    SeedText text{standard_input ? "standard input" : path, {}};
    const Fd fd(standard_input ? ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)
                               : ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
    if (!fd) return fail_errno(errno, text.name, "cannot open");
    std::array<char, 64 * KiB> buffer;
    for (;;) {
        const ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail_errno(errno, text.name, "cannot read");
        if (n == 0) return text;
        text.text.append(buffer.data(), static_cast<std::size_t>(n));
        if (text.text.size() > seed_file_bytes_max) {
            return failf(ErrorKind::no_space, "{}: more than {} MiB: too large for a seed",
                         printable(text.name), seed_file_bytes_max / MiB);
        }
    }
}

}  // namespace qimg
