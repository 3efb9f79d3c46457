// From options to the files of a seed.
// SPDX-License-Identifier: Apache-2.0
#include <crypt.h>
#include <doctest/doctest.h>

#include <algorithm>

#include "qimg/seed.hpp"
#include "seed/digest.hpp"
#include "seed/meta_data.hpp"
#include "seed/mime.hpp"
#include "seed/password.hpp"
#include "seed/ssh_keys.hpp"

using namespace qimg;
using namespace qimg::seed;

namespace {

const std::string key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMq ann@example";

std::string file_of(const Seed& seed, std::string_view name) {
    const auto found = std::ranges::find(seed.files, name, &VolumeFile::name);
    return found == seed.files.end() ? "(none)" : found->contents;
}

std::string error_of(const SeedOptions& options) {
    const auto seed = compose_seed(options);
    return seed ? "" : seed.error().message;
}

SeedOptions with_user_data(const std::string& text) {
    SeedOptions options;
    options.user_data.push_back({"user.yaml", text});
    return options;
}

std::string hash_in(const std::string& user_data) {
    const std::size_t at = user_data.find("$6$");
    REQUIRE(at != std::string::npos);
    return user_data.substr(at, user_data.find('"', at) - at);
}

}  // namespace

TEST_CASE("SHA-256 is that of FIPS 180-2, with lengths before the texts") {
    // sha256 of eight zero bytes (the length of the empty text)
    CHECK(hexadecimal(digest_of({""}), 64) ==
          "af5570f5a1810b7af78caf4bc70a660f0df51e42baf91d4de5b2328de0e83dfc");
    CHECK(digest_of({"ab", "c"}) != digest_of({"a", "bc"}));
}

TEST_CASE("base64 is RFC 4648's") {
    CHECK(base64_lines("") == "");
    CHECK(base64_lines("f") == "Zg==\n");
    CHECK(base64_lines("fo") == "Zm8=\n");
    CHECK(base64_lines("foo") == "Zm9v\n");
    CHECK(base64_lines("foobar") == "Zm9vYmFy\n");
    CHECK(base64_lines(std::string(58, 'a')).find('\n') == 76);
}

TEST_CASE("one part is written as it is, meta-data with an id as well") {
    SeedOptions options = with_user_data("#cloud-config\npackages: [vim]\n");
    options.meta_data = SeedText{"md", "# mine\ninstance-id: i-1\n"};
    options.network_config = SeedText{"nc", "version: 2\n"};
    options.vendor_data = SeedText{"vd", "#!/bin/sh\n"};
    const Seed seed = compose_seed(options).value();
    REQUIRE(seed.files.size() == 4);
    CHECK(seed.files[0].name == "user-data");
    CHECK(seed.files[1].name == "meta-data");
    CHECK(file_of(seed, "user-data") == options.user_data[0].text);
    CHECK(file_of(seed, "meta-data") == "# mine\ninstance-id: i-1\n");
    CHECK(file_of(seed, "network-config") == "version: 2\n");
    CHECK(file_of(seed, "vendor-data") == "#!/bin/sh\n");
    CHECK(seed.instance_id == "i-1");
}

TEST_CASE("without any option both files exist, and the id comes from the content") {
    const Seed seed = compose_seed({}).value();
    CHECK(file_of(seed, "user-data").empty());
    CHECK(seed.instance_id.size() == 20);
    CHECK(file_of(seed, "meta-data") == "instance-id: \"" + seed.instance_id + "\"\n");
    CHECK(compose_seed({}).value().instance_id == seed.instance_id);
    CHECK(compose_seed(with_user_data("#!/bin/sh\n")).value().instance_id != seed.instance_id);
    SeedOptions named;
    named.hostname = "a";
    CHECK(compose_seed(named).value().instance_id != seed.instance_id);
}

TEST_CASE("a password is stored as a hash that verifies and does not expire") {
    SeedOptions options;
    options.password = "s3cret";
    const std::string text = file_of(compose_seed(options).value(), "user-data");
    CHECK(text.starts_with("#cloud-config\n"));
    CHECK(text.find("s3cret") == std::string::npos);
    CHECK(text.find("expire: false") != std::string::npos);
    CHECK(text.find("ssh_pwauth: true") != std::string::npos);
    const std::string hash = hash_in(text);
    crypt_data scratch = {};
    CHECK(hash == ::crypt_rn("s3cret", hash.c_str(), &scratch, sizeof scratch));
}

TEST_CASE("the salt follows the content, not the password") {
    SeedOptions a, b, c;
    a.password = "one";
    b.password = "two";
    c.password = "one";
    c.hostname = "other";
    const auto salt = [](const SeedOptions& options) {
        return hash_in(file_of(compose_seed(options).value(), "user-data")).substr(0, 19);
    };
    CHECK(salt(a) == salt(b));
    CHECK(salt(a) != salt(c));
}

TEST_CASE("crypt hashes pass, those that cloud-init does not recognise are refused") {
    CHECK(hash_password("$6$salt$abc", {}).value() == "$6$salt$abc");
    CHECK_FALSE(hash_password("$y$j9T$salt$abc", {}));
    CHECK_FALSE(hash_password("", {}));
    CHECK_FALSE(hash_password("a\nb", {}));
    CHECK(hash_password("$6$", {}).value().starts_with("$6$"));
}

TEST_CASE("a named user gets sudo, password and keys") {
    SeedOptions options;
    options.user = "ann";
    options.password = "x";
    options.ssh_keys = {key};
    const std::string text = file_of(compose_seed(options).value(), "user-data");
    CHECK(text.find("users:\n  - name: \"ann\"\n    sudo: \"ALL=(ALL) NOPASSWD:ALL\"") != std::string::npos);
    CHECK(text.find("lock_passwd: false\n    hashed_passwd: \"$6$") != std::string::npos);
    CHECK(text.find("    ssh_authorized_keys:\n      - \"" + key + "\"") != std::string::npos);
    options.password.clear();
    CHECK(file_of(compose_seed(options).value(), "user-data").find("lock_passwd: true") != std::string::npos);
}

TEST_CASE("several parts become one archive in their order, other than ASCII in base64") {
    SeedOptions options = with_user_data("#cloud-config\nruncmd: []\n");
    options.user_data.push_back({"s", "#!/bin/sh\necho caf\xc3\xa9\n"});
    options.ssh_keys = {key};
    const std::string text = file_of(compose_seed(options).value(), "user-data");
    CHECK(text.starts_with("MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\""));
    const std::size_t login = text.find("ssh_authorized_keys:");
    const std::size_t config = text.find("runcmd: []\n\n--");
    const std::size_t script =
        text.find("Content-Type: text/x-shellscript; charset=\"utf-8\"\nContent-Transfer-Encoding: base64");
    CHECK((login < config && config < script && script != std::string::npos));
    CHECK(text == file_of(compose_seed(options).value(), "user-data"));
    CHECK(text.find("user.yaml") == std::string::npos);
}

TEST_CASE("a key that both an option and a file set is refused") {
    SeedOptions options = with_user_data("#cloud-config\nssh_authorized_keys: []\n");
    options.ssh_keys = {key};
    CHECK(error_of(options).starts_with("user.yaml:2:1: 'ssh_authorized_keys' is also set by an option"));
}

TEST_CASE("settings are put into meta-data without touching the rest") {
    const auto edited = [](const std::string& text, const std::vector<Setting>& settings) {
        const auto done = apply_settings({"md", text}, settings);
        return done ? done->text : done.error().message;
    };
    const std::vector<Setting> id{{"instance-id", "N"}};
    CHECK(edited("", id) == "instance-id: \"N\"\n");
    CHECK(edited("# c", id) == "# c\ninstance-id: \"N\"\n");
    CHECK(edited("a: b # c\n", id) == "instance-id: \"N\"\na: b # c\n");
    CHECK(edited("---\n  a: b\n  c: d\n", id) == "---\n  instance-id: \"N\"\n  a: b\n  c: d\n");
    CHECK(edited("instance-id: old # c\nb: c\n", id) == "instance-id: \"N\" # c\nb: c\n");
    CHECK(edited("instance-id: 'old'\n", id) == "instance-id: \"N\"\n");
    CHECK(edited("{\"instance-id\": \"o\", \"b\": 1}", id) == "{\"instance-id\": \"N\", \"b\": 1}");
    CHECK(edited("{}", id) == "{\"instance-id\": \"N\"}");
    CHECK(edited("{ b: 1 }", id) == "{\"instance-id\": \"N\",  b: 1 }");
    CHECK(edited("local-hostname:\n", {{"local-hostname", "h"}}).find("cannot be replaced") !=
          std::string::npos);
}

TEST_CASE("meta-data that cloud-init would not take is refused") {
    const auto refused = [](const std::string& text) { return !check_meta_data({"md", text}); };
    CHECK(refused("- a\n"));
    CHECK(refused("hello\n"));
    CHECK(refused("instance-id:\n"));
    CHECK(refused("instance-id: ''\n"));
    CHECK(refused("instance-id: [a]\n"));
    CHECK(refused("dsmode: pass\n"));
    CHECK(refused("local-hostname: a_b\n"));
    CHECK_FALSE(refused("instance-id: 17\ndsmode: local\nlocal-hostname: a.example\n"));
    CHECK_FALSE(refused(""));
}

TEST_CASE("host names follow RFC 1123") {
    CHECK(is_hostname("web-1.example.org"));
    CHECK(is_hostname("3com"));
    CHECK_FALSE(is_hostname(""));
    CHECK_FALSE(is_hostname("-a"));
    CHECK_FALSE(is_hostname("a..b"));
    CHECK_FALSE(is_hostname("a_b"));
    CHECK_FALSE(is_hostname(std::string(64, 'a')));
    CHECK_FALSE(is_hostname("a\nb"));
}

TEST_CASE("options that no guest would take are refused") {
    const auto refused = [](void (*set)(SeedOptions&)) {
        SeedOptions options;
        set(options);
        return !compose_seed(options);
    };
    CHECK(refused([](SeedOptions& o) { o.hostname = "a b"; }));
    CHECK(refused([](SeedOptions& o) { o.dsmode = "never"; }));
    CHECK(refused([](SeedOptions& o) { o.instance_id = "a b"; }));
    CHECK(refused([](SeedOptions& o) { o.user = "Ann"; }));
    CHECK(refused([](SeedOptions& o) { o.ssh_keys = {"ssh-rsa"}; }));
    CHECK(refused([](SeedOptions& o) { o.ssh_keys = {"ssh-rsa AAAA\nruncmd: [x]"}; }));
    CHECK(refused([](SeedOptions& o) { o.user_data = {{"f", std::string(seed_file_bytes_max + 1, '#')}}; }));
}

TEST_CASE("public keys are told from other texts") {
    CHECK(is_public_key(key));
    CHECK(is_public_key("no-pty,command=\"a b\" " + key));
    CHECK_FALSE(is_public_key("ssh-ed25519"));
    CHECK_FALSE(is_public_key("/home/ann/.ssh/id_ed25519.pub"));
    CHECK_FALSE(is_public_key("-----BEGIN OPENSSH PRIVATE KEY-----"));
}

TEST_CASE("both file systems take a composed seed") {
    const Seed seed = compose_seed(with_user_data("#!/bin/sh\n")).value();
    for (const SeedFilesystem filesystem : {SeedFilesystem::iso9660, SeedFilesystem::vfat}) {
        const auto storage = memory_storage();
        REQUIRE(write_seed(seed, filesystem, seed_default_time, *storage));
        CHECK(storage->size().value() > 0);
    }
}
