// Hashes with libmd.
// SPDX-License-Identifier: Apache-2.0
#include "seed/digest.hpp"

#include <fmt/format.h>
#include <sha2.h>

#include "base/endian.hpp"

namespace qimg::seed {

Digest digest_of(const std::vector<std::string_view>& texts) {
    SHA2_CTX context;
    SHA256Init(&context);
    for (std::string_view text : texts) {
        std::array<std::byte, 8> length;
        store(length, le64(text.size()));
        SHA256Update(&context, static_cast<const std::uint8_t*>(static_cast<const void*>(length.data())),
                     length.size());
        SHA256Update(&context, static_cast<const std::uint8_t*>(static_cast<const void*>(text.data())),
                     text.size());
    }
    Digest digest;
    SHA256Final(digest.data(), &context);
    return digest;
}

std::string hexadecimal(const Digest& digest, std::size_t digits) {
    std::string text;
    for (std::size_t i = 0; i < digits / 2; ++i)
        text += fmt::format("{:02x}", digest[i]);
    return text;
}

}  // namespace qimg::seed
