// Checks the outermost layer of network-config; what is inside depends on the guest's renderer.
// SPDX-License-Identifier: Apache-2.0
#include "seed/network_config.hpp"

#include "base/text.hpp"
#include "base/try.hpp"
#include "seed/yaml.hpp"

namespace qimg::seed {

Result<void> check_network_config(const SeedText& text) {
    const YamlOutline outline = TRY(outline_yaml(text));
    if (outline.top != YamlKind::mapping) {
        return fail_at(text, outline.at,
                       "network-config must be a mapping with 'version: 1' or 'version: 2'");
    }
    const YamlEntry* network = outline.find("network");
    if (network && network->kind == YamlKind::alias) return {};
    if (network && network->kind != YamlKind::mapping) {
        return fail_at(text, network->at, "'network' must be a mapping with 'version: 1' or 'version: 2'");
    }
    const std::string_view parent = network ? "network" : "";
    const YamlEntry* version = outline.find("version", parent);
    const YamlEntry* config = outline.find("config", parent);
    if (!version && config && config->text == "disabled") return {};
    if (!version) {
        return fail_at(text, network ? network->at : outline.at,
                       "no 'version': cloud-init knows 'version: 1' and 'version: 2'");
    }
    // a quoted number is a text, which cloud-init does not compare equal
    if (!version->plain || (version->text != "1" && version->text != "2")) {
        return fail_at(text, version->at,
                       fmt::format("version '{}'{}: cloud-init knows the numbers 1 and 2",
                                   printable(version->text), version->plain ? "" : " in quotes"));
    }
    if (version->text == "1" && (!config || config->kind == YamlKind::scalar)) {
        return fail_at(text, version->at, "version 1 needs a list under 'config'");
    }
    return {};
}

}  // namespace qimg::seed
