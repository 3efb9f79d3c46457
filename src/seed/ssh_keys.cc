// Reads public keys, and tells them from what people mistake for them.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>

#include "base/text.hpp"
#include "base/try.hpp"
#include "seed/ssh_keys.hpp"

namespace qimg {

namespace seed {

namespace {

// sshd(8) "AUTHORIZED_KEYS FILE FORMAT"
constexpr std::array<std::string_view, 8> key_types{
    "ssh-ed25519",
    "ssh-rsa",
    "ssh-dss",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
};
// Every key begins with the length of its type's name, whose first bytes are zero.
constexpr std::string_view key_start = "AAAA";

std::string_view trimmed(std::string_view line) {
    const std::size_t first = line.find_first_not_of(" \t\r\n");
    if (first == line.npos) return {};
    return line.substr(first, line.find_last_not_of(" \t\r\n") - first + 1);
}

}  // namespace

bool is_public_key(std::string_view line) {
    return std::ranges::any_of(key_types, [&](std::string_view type) {
        const std::size_t at = line.find(std::string(type) + " ");
        // options may precede the type, separated by a space
        const bool word = at == 0 || (at != line.npos && line[at - 1] == ' ');
        return word && trimmed(line.substr(at + type.size())).starts_with(key_start);
    });
}

}  // namespace seed

Result<std::vector<std::string>> read_ssh_keys(const std::string& text_or_path) {
    if (seed::is_public_key(text_or_path)) return std::vector{std::string(seed::trimmed(text_or_path))};
    const SeedText file = TRY(read_seed_text(text_or_path));
    if (file.text.find("PRIVATE KEY-----") != std::string::npos) {
        return failf(ErrorKind::corrupt, "{}: holds a private key: give the public one, {}.pub",
                     printable(file.name), printable(file.name));
    }
    std::vector<std::string> keys;
    std::size_t number = 0;
    for (std::string_view rest = file.text; !rest.empty();) {
        const std::string_view line = rest.substr(0, rest.find('\n'));
        rest.remove_prefix(std::min(rest.size(), line.size() + 1));
        ++number;
        const std::string_view key = seed::trimmed(line);
        if (key.empty() || key.starts_with('#')) continue;
        if (!seed::is_public_key(key)) {
            return failf(ErrorKind::corrupt,
                         "{}:{}: no SSH public key: expected 'ssh-ed25519 AAAA…' or the like",
                         printable(file.name), number);
        }
        keys.emplace_back(key);
    }
    if (keys.empty()) return failf(ErrorKind::corrupt, "{}: holds no SSH public key", printable(file.name));
    return keys;
}

}  // namespace qimg
