// Parses mkseed's command line with CLI11.
// SPDX-License-Identifier: Apache-2.0
#include "cli/mkseed/arguments.hpp"

#include <fmt/core.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>

namespace mkseed {

namespace {

using qimg::ErrorKind;

constexpr const char* examples = R"(Examples:
  mkseed seed.iso user-data meta-data          what cloud-localds does
  mkseed --password s3cret seed.iso            no files at all: a login for the image's user
  mkseed --user ann --ssh-key ~/.ssh/id_ed25519.pub -H web1 seed.iso
  mkseed -u base.yaml -u setup.sh seed.iso     several parts, one MIME archive
  mkseed -f vfat -N network.yaml seed.img user.yaml)";

// CLI11 throws: every word about a bad command line is caught here, in one place.
struct CommandLine {
    CLI::App app{"Makes a NoCloud seed: the disk from which cloud-init configures a machine.", "mkseed"};
    Arguments arguments;
    std::string disk_format = "raw";
    std::string filesystem = "iso9660";
    std::string positional_user_data;
    std::string positional_meta_data;
    bool version = false;
};

void declare_positionals(CommandLine& line) {
    line.app.add_option("OUTPUT", line.arguments.output, "the image to write, '-' for standard output")
        ->required();
    line.app.add_option("USER-DATA", line.positional_user_data, "a file, '-' for standard input");
    line.app.add_option("META-DATA", line.positional_meta_data,
                        "a file; its instance-id stays unless --instance-id is given");
}

void declare_files(CommandLine& line) {
    Arguments& to = line.arguments;
    line.app.add_option("-u,--user-data", to.user_data, "one more part of user-data (repeatable)")
        ->type_name("FILE")
        ->allow_extra_args(false);
    line.app.add_option("--meta-data", to.meta_data, "the same as META-DATA")->type_name("FILE");
    line.app.add_option("-N,--network-config", to.network_config, "network configuration, version 1 or 2")
        ->type_name("FILE");
    line.app.add_option("-V,--vendor-data", to.vendor_data, "vendor-data")->type_name("FILE");
    line.app.add_option("-i,--interfaces", to.interfaces, "an ENI file, for meta-data's network-interfaces")
        ->type_name("FILE");
}

void declare_settings(CommandLine& line) {
    Arguments& to = line.arguments;
    line.app.add_option("--user", to.user, "make this user, with sudo, instead of the image's own")
        ->type_name("NAME");
    line.app.add_option("--password", to.password, "password, or crypt hash, of the user")->type_name("TEXT");
    line.app.add_option("--password-file", to.password_file, "the same, from the first line of a file")
        ->type_name("FILE");
    line.app
        .add_option("--ssh-key", to.ssh_keys, "public key of the user, or a file with such keys (repeatable)")
        ->type_name("KEY|FILE")
        ->allow_extra_args(false);
    line.app.add_option("-H,--hostname", to.hostname, "host name")->type_name("NAME");
    line.app.add_option("--instance-id", to.instance_id, "instance id; without it, a hash of the content")
        ->type_name("ID");
    line.app.add_option("-m,--dsmode", to.dsmode, "local, net or disabled: when cloud-init runs")
        ->type_name("MODE");
    line.app.add_option("-f,--filesystem", line.filesystem, "iso9660 (also: iso) or vfat")->type_name("TYPE");
    line.app.add_option("-d,--disk-format", line.disk_format, "raw, the only one")->type_name("FORMAT");
    line.app.add_flag("-v,--verbose", to.verbosity, "tell what was written");
    line.app.add_flag("--version", line.version, "print the version");
}

std::unexpected<qimg::Error> refuse(std::string message) {
    return qimg::fail(ErrorKind::invalid_argument, std::move(message));
}

// CLI11's words name the option; they may take several lines.
std::unexpected<qimg::Error> refuse(const CLI::ParseError& error) {
    std::string message = error.what();
    std::ranges::replace(message, '\n', ' ');
    return refuse(message + " (mkseed --help tells more)");
}

qimg::Result<Arguments> finish(CommandLine& line) {
    Arguments& arguments = line.arguments;
    if (line.disk_format != "raw") {
        return refuse(fmt::format("disk format '{}': mkseed writes raw images only", line.disk_format));
    }
    if (line.filesystem == "vfat") arguments.filesystem = qimg::SeedFilesystem::vfat;
    if (line.filesystem != "vfat" && line.filesystem != "iso9660" && line.filesystem != "iso") {
        return refuse(fmt::format("file system '{}': must be iso9660 or vfat", line.filesystem));
    }
    if (!line.positional_user_data.empty()) {
        arguments.user_data.insert(arguments.user_data.begin(), line.positional_user_data);
    }
    if (!line.positional_meta_data.empty()) {
        if (arguments.meta_data) return refuse("META-DATA and --meta-data name two files: give one");
        arguments.meta_data = line.positional_meta_data;
    }
    if (arguments.password && arguments.password_file)
        return refuse("--password and --password-file: give one");
    if (arguments.password && arguments.password->empty()) return refuse("--password: must not be empty");
    return arguments;
}

}  // namespace

qimg::Result<Parsed> parse_arguments(int count, const char* const* words) {
    CommandLine line;
    line.app.footer(examples);
    declare_positionals(line);
    declare_files(line);
    declare_settings(line);
    Parsed parsed;
    try {
        line.app.parse(count, words);
    } catch (const CLI::CallForHelp&) {
        parsed.answer = line.app.help();
        return parsed;
    } catch (const CLI::ParseError& error) {
        if (!line.version) return refuse(error);
    }
    if (line.version) {
        parsed.answer = "mkseed " QIMG_VERSION "\n";
        return parsed;
    }
    auto arguments = finish(line);
    if (!arguments) return std::unexpected(arguments.error());
    parsed.arguments = std::move(*arguments);
    return parsed;
}

}  // namespace mkseed
