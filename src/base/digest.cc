// SHA-256 with libmd.
// SPDX-License-Identifier: Apache-2.0
#include "base/digest.hpp"

#include <fmt/format.h>
#include <sha2.h>

namespace qimg {

struct Sha256::State {
    SHA2_CTX context;
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
    ::SHA256Init(&state_->context);
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(std::span<const std::byte> bytes) {
    const void* const data = bytes.data();
    ::SHA256Update(&state_->context, static_cast<const std::uint8_t*>(data), bytes.size());
}

Digest Sha256::finish() {
    Digest digest;
    ::SHA256Final(digest.data(), &state_->context);
    return digest;
}

std::string hexadecimal(const Digest& digest, std::size_t digits) {
    std::string text;
    for (std::size_t i = 0; i < digits / 2; ++i)
        text += fmt::format("{:02x}", digest[i]);
    return text;
}

}  // namespace qimg
