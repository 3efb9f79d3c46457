// What must hold before a sandbox's first file is made. Only looks; changes nothing.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "qimg/error.hpp"
#include "qimg/vm.hpp"
#include "vm/file_access.hpp"
#include "vm/host_facts.hpp"
#include "vm/hypervisor.hpp"

namespace qimg::vm {

// The images a base stands on, itself first, after these checks: each opens and none is held by a writer;
// each names its backing format, without which libvirt refuses it; QEMU's user reaches each. `warnings` gets
// a line for every image that somebody else may write. Images in `own_folder`, where sandboxes are, may name
// files anywhere.
// Errors: not_found, in_use, corrupt, unsupported, read_only, unsafe.
Result<void> check_base(const std::string& base, const std::optional<std::string>& format,
                        const std::string& own_folder, const FileUser& user,
                        std::vector<std::string>& warnings);

// No image of the chain changed since the one above it was put on it, as far as that is pinned. `sandbox` is the
// one whose disk `image` is, if any. Errors: unsafe, with what changed, when, and the ways to go on.
Result<void> check_unchanged(const std::string& image, const std::optional<std::string>& format,
                             const std::string& own_folder, const std::string& sandbox = {});

// A line when the base changed since the disk that is about to be replaced was put on it.
void warn_of_changed_base(const std::string& disk, const std::string& own_folder,
                          std::vector<std::string>& warnings);

// No domain of that name, running or not, is on the connection. Errors: exists.
Result<void> check_domain_name(const Hypervisor& hypervisor, const std::string& name);

// Decides an empty network, and checks that a named one is active and that forwards are possible.
Result<std::string> decide_network(const Hypervisor& hypervisor, const Machine& machine);

// `folder` or its nearest existing ancestor has room for `bytes`. Errors: no_space.
Result<void> check_space(const std::string& folder, std::uint64_t bytes);

// QEMU's user, or the caller where QEMU runs as whoever asks for it.
FileUser qemu_file_user(const HostFacts& host);

}  // namespace qimg::vm
