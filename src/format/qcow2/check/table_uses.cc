// Collecting uses of L2 tables: appended, and now and then sorted and joined.
// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/check/table_uses.hpp"

#include <algorithm>

namespace qimg::qcow2 {

namespace {

bool is_before(const TableUse& a, const TableUse& b) {
    return a.at < b.at;
}

// Joins neighbours in a sorted list.
void join(std::vector<TableUse>& uses) {
    std::size_t kept = 0;
    for (const TableUse& use : uses) {
        if (kept != 0 && uses[kept - 1].at == use.at) {
            uses[kept - 1].references += use.references;
            uses[kept - 1].active_references += use.active_references;
        } else {
            uses[kept++] = use;
        }
    }
    uses.resize(kept);
}

}  // namespace

void TableUses::add(HostOffset at, std::uint64_t references, std::uint64_t active_references) {
    pending_.push_back({at, references, active_references});
    if (pending_.size() >= pending_max) settle();
}

void TableUses::settle() {
    std::sort(pending_.begin(), pending_.end(), is_before);
    join(pending_);
    const auto middle = static_cast<std::ptrdiff_t>(tables_.size());
    tables_.insert(tables_.end(), pending_.begin(), pending_.end());
    std::inplace_merge(tables_.begin(), tables_.begin() + middle, tables_.end(), is_before);
    join(tables_);
    pending_ = {};
}

TableUse* TableUses::find(HostOffset at) {
    const auto found = std::lower_bound(tables_.begin(), tables_.end(), TableUse{at}, is_before);
    return found != tables_.end() && found->at == at ? &*found : nullptr;
}

}  // namespace qimg::qcow2
