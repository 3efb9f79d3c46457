// Makes cloud-config of user, password and SSH keys.
// SPDX-License-Identifier: Apache-2.0
#include "seed/login_config.hpp"

#include <algorithm>

#include "base/text.hpp"
#include "base/try.hpp"
#include "seed/password.hpp"
#include "seed/ssh_keys.hpp"
#include "seed/yaml.hpp"

namespace qimg::seed {

namespace {

constexpr std::size_t user_name_max = 32;  // useradd(8)

bool is_user_name(std::string_view name) {
    const auto begins = [](char c) { return (c >= 'a' && c <= 'z') || c == '_'; };
    const auto continues = [&](char c) { return begins(c) || (c >= '0' && c <= '9') || c == '-'; };
    return !name.empty() && name.size() <= user_name_max && begins(name[0]) &&
           std::ranges::all_of(name, continues);
}

Result<void> check(const SeedOptions& options) {
    if (!options.user.empty() && !is_user_name(options.user)) {
        return failf(ErrorKind::invalid_argument,
                     "user '{}': a user's name begins with a lower-case letter or '_', goes on with those, "
                     "digits and '-', "
                     "and has at most {} characters",
                     printable(options.user), user_name_max);
    }
    for (const std::string& key : options.ssh_keys) {
        const bool one_line = key.find_first_of("\r\n") == key.npos;
        if (!one_line || !is_public_key(key)) {
            return failf(ErrorKind::invalid_argument,
                         "SSH key '{}': not a line of the form 'ssh-ed25519 AAAA…'",
                         printable(std::string_view(key).substr(0, 60)));
        }
    }
    return {};
}

std::string key_list(const std::vector<std::string>& keys, std::string_view indent) {
    std::string out = fmt::format("{}ssh_authorized_keys:\n", indent);
    for (const std::string& key : keys)
        out += fmt::format("{}  - {}\n", indent, yaml_quoted(key));
    return out;
}

}  // namespace

Result<LoginConfig> login_config(const SeedOptions& options, const Digest& salt_source) {
    TRY(check(options));
    LoginConfig config;
    std::string hash;
    if (!options.password.empty()) hash = TRY(hash_password(options.password, salt_source));
    if (hash.empty() && options.ssh_keys.empty() && options.user.empty()) return config;

    config.text = "#cloud-config\n";
    if (options.user.empty()) {
        if (!hash.empty()) {
            // without this cloud-init makes the user change the password at the first login
            config.text += fmt::format("password: {}\nchpasswd:\n  expire: false\n", yaml_quoted(hash));
            config.keys.insert(config.keys.end(), {"password", "chpasswd"});
        }
        if (!options.ssh_keys.empty()) {
            config.text += key_list(options.ssh_keys, "");
            config.keys.emplace_back("ssh_authorized_keys");
        }
    } else {
        config.text +=
            fmt::format("users:\n  - name: {}\n    sudo: \"ALL=(ALL) NOPASSWD:ALL\"\n    shell: /bin/bash\n",
                        yaml_quoted(options.user));
        config.text += fmt::format("    lock_passwd: {}\n", hash.empty());
        if (!hash.empty()) config.text += fmt::format("    hashed_passwd: {}\n", yaml_quoted(hash));
        if (!options.ssh_keys.empty()) config.text += key_list(options.ssh_keys, "    ");
        config.keys.emplace_back("users");
    }
    if (!hash.empty()) {
        config.text += "ssh_pwauth: true\n";
        config.keys.emplace_back("ssh_pwauth");
    }
    return config;
}

}  // namespace qimg::seed
