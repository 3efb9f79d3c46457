// Hashes passwords with libcrypt.
// SPDX-License-Identifier: Apache-2.0
#include "seed/password.hpp"

#include <crypt.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string_view>

#include "base/text.hpp"

namespace qimg::seed {

namespace {

constexpr std::size_t salt_characters = 16;
constexpr std::string_view salt_alphabet = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
// cloud-init's set_passwords knows a hash by these.
constexpr std::array<std::string_view, 5> recognised{"$1$", "$2a$", "$2y$", "$5$", "$6$"};
constexpr std::array<std::string_view, 5> unrecognised{"$y$", "$gy$", "$7$", "$2b$", "$2x$"};

// "$id$…$…"
bool is_hash_with(std::string_view password, std::string_view prefix) {
    if (!password.starts_with(prefix)) return false;
    const std::size_t end_of_salt = password.find('$', prefix.size());
    return end_of_salt != password.npos && end_of_salt + 1 < password.size();
}

std::string salt_from(const Digest& source) {
    std::string salt = "$6$";
    for (std::size_t i = 0; i < salt_characters; ++i)
        salt += salt_alphabet[source[i] % salt_alphabet.size()];
    return salt;
}

}  // namespace

Result<std::string> hash_password(const std::string& password, const Digest& salt_source) {
    const auto uses = [&](std::string_view prefix) { return is_hash_with(password, prefix); };
    if (std::ranges::any_of(recognised, uses)) return password;
    if (std::ranges::any_of(unrecognised, uses)) {
        return fail(
            ErrorKind::invalid_argument,
            "password: cloud-init takes this kind of crypt hash for clear text; use a SHA-512 one ($6$)");
    }
    const bool control =
        std::ranges::any_of(password, [](char c) { return (c >= 0 && c < 0x20) || c == 0x7f; });
    if (password.empty() || control) {
        return fail(ErrorKind::invalid_argument, "password: must not be empty or hold control characters");
    }
    const auto scratch = std::make_unique<crypt_data>();
    // crypt_rn, not crypt_r: AddressSanitizer's runtime defines the latter, and the linker then leaves out libcrypt
    const char* hash =
        ::crypt_rn(password.c_str(), salt_from(salt_source).c_str(), scratch.get(), sizeof(crypt_data));
    if (!hash || hash[0] == '*')
        return fail(ErrorKind::invalid_argument, "password: crypt(3) cannot hash it");
    return std::string(hash);
}

}  // namespace qimg::seed
