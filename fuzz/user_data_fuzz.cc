// Feeds arbitrary bytes to everything that judges a text before it goes into a seed.
// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <cstdint>
#include <string>

#include "qimg/seed.hpp"
#include "seed/meta_data.hpp"
#include "seed/network_config.hpp"
#include "seed/user_data.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const qimg::SeedText text{"input", std::string(data, data + size)};
    const auto part = qimg::seed::check_user_data(text);
    if (part) (void)qimg::seed::mime_type(part->kind);
    (void)qimg::seed::check_meta_data(text);
    (void)qimg::seed::check_network_config(text);
    (void)qimg::seed::apply_settings(text, {{"instance-id", "i"}, {"local-hostname", "h"}});
    return 0;
}
