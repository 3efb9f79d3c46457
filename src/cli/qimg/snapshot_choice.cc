// QEMU's two ways of naming a snapshot.
// SPDX-License-Identifier: Apache-2.0
#include "cli/qimg/snapshot_choice.hpp"

#include "cli/qimg/messages.hpp"
#include "cli/qimg/option_list.hpp"

namespace qimg::cli {

std::optional<SnapshotChoice> parse_snapshot_choice(const std::string& text) {
    if (!text.starts_with("snapshot.")) return SnapshotChoice{text, text, true};
    SnapshotChoice choice;
    OptionList list;
    bool is_known = list.add(text);
    for (const auto& [name, value] : list.items()) {
        if (name == "snapshot.id") {
            choice.id = value;
        } else if (name == "snapshot.name") {
            choice.name = value;
        } else {
            print_errorf("Invalid parameter '{}'", name);
            is_known = false;
            break;
        }
    }
    if (is_known) return choice;
    print_errorf("Failed in parsing snapshot param '{}'", text);
    return std::nullopt;
}

}  // namespace qimg::cli
