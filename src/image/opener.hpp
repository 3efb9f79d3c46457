// Which format a file has, how its format is opened, and chains of images put together.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "format/format.hpp"
#include "qimg/image.hpp"

namespace qimg {

// By the first bytes: "qcow2", the name of a format that is not ours, or else "raw".
Result<std::string> probe_format(const Storage& storage);
// Every format that the file has a signature of, in no special order: at its start, and where other programs look
// for one, in ISO 9660's 17th sector and in the last 512 bytes. More than one: programs may not agree what it is.
Result<std::vector<std::string>> formats_by_signature(const Storage& storage);
// True for formats that exist and are none of ours.
bool is_foreign_format(std::string_view name);

// The format of one file, without its backing image. `format` absent: probed.
Result<std::unique_ptr<Format>> open_format(std::unique_ptr<Storage> storage, const std::string& path,
                                            const OpenOptions& options, Opener& opener);

// Where the image below is, by the assembly or by the header; nothing at the end of the chain or when it is not
// wanted. Errors: of Opener::locate.
Result<std::optional<ImageLocation>> location_below(const ImageLocation& location, const Format& format,
                                                    Opener& opener);

// The chain from `location` downwards; `above` are the files that are open already, to tell a loop. Errors do
// not begin with "Could not open 'PATH': ".
Result<std::unique_ptr<Image>> open_chain(const ImageLocation& location, Opener& opener,
                                          std::vector<std::string>& above);

// One image over `backing`, whatever its header says is below it.
Result<std::unique_ptr<Image>> open_over(std::unique_ptr<Image> backing, const ImageLocation& location,
                                         Opener& opener, const std::vector<std::string>& above);

}  // namespace qimg
