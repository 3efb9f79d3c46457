// mkseed's command line. It is cloud-localds's, and more.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "qimg/error.hpp"
#include "qimg/seed.hpp"

namespace mkseed {

// The command line as it was given; files are named, not read.
struct Arguments {
    std::string output;
    std::vector<std::string> user_data;  // in the order of the parts
    std::optional<std::string> meta_data;
    std::optional<std::string> network_config;
    std::optional<std::string> vendor_data;
    std::optional<std::string> interfaces;
    std::optional<std::string> password;
    std::optional<std::string> password_file;
    std::vector<std::string> ssh_keys;  // keys or paths
    std::string user;
    std::string hostname;
    std::string instance_id;
    std::string dsmode;
    qimg::SeedFilesystem filesystem = qimg::SeedFilesystem::iso9660;
    int verbosity = 0;
};

// What parsing comes to: arguments to work on, or a text to print (--help, --version).
struct Parsed {
    Arguments arguments;
    std::optional<std::string> answer;
};

// Errors: invalid_argument, with what is wrong with the command line.
qimg::Result<Parsed> parse_arguments(int count, const char* const* words);

}  // namespace mkseed
