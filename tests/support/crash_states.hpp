// What files may hold after a crash: the calls up to the last flush, and of those since then any part.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <random>
#include <vector>

#include "support/recorded_folder.hpp"

namespace qimg::test {

// Which calls since the last flush of their file reached it. As each sector of the file is what the last
// surviving call made of it, subsets stand for all orders, too.
struct Survivors {
    enum class Kind {
        all,      // the program died, the machine goes on
        torn,     // of the last call only its beginning
        all_but,  // one call is missing
        only,     // only one call
        calls,    // some calls
        sectors,  // some sectors of each call
    };
    Kind kind = Kind::all;
    std::size_t chosen = 0;  // among the calls since the flushes, from 0
};

// Walks along a log, from before its first call to behind its last one.
class CrashStates {
  public:
    CrashStates(Folder start, const std::vector<FolderCall>& log) : durable_(std::move(start)), log_(log) {}

    // Calls made so far, and those of them that no flush came after.
    std::size_t calls() const { return calls_; }
    std::size_t pending() const { return pending_.size(); }
    bool at_end() const { return calls_ == log_.size(); }

    void advance() {
        const FolderCall& next = log_[calls_++];
        if (next.call.kind != LoggedCall::Kind::flush) {
            pending_.push_back(&next);
            return;
        }
        for (const FolderCall* call : pending_) {
            if (call->file == next.file) apply_call(durable_[next.file], call->call);
        }
        std::erase_if(pending_, [&](const FolderCall* call) { return call->file == next.file; });
    }

    Folder state(const Survivors& survivors, std::mt19937_64& random) const {
        Folder folder = durable_;
        const std::uint64_t keep_in_16 = random() % 15 + 1;
        for (std::size_t i = 0; i < pending_.size(); ++i) {
            const FolderCall& call = *pending_[i];
            const bool is_last = i + 1 == pending_.size();
            std::size_t sectors = random() % (call.call.data.size() / sector_bytes + 2);
            const bool drawn = random() % 16 < keep_in_16;
            apply_sectors(folder[call.file], call.call, [&] {
                switch (survivors.kind) {
                    case Survivors::Kind::all:
                        return true;
                    case Survivors::Kind::torn:
                        return !is_last || (sectors != 0 && sectors-- != 0);
                    case Survivors::Kind::all_but:
                        return i != survivors.chosen;
                    case Survivors::Kind::only:
                        return i == survivors.chosen;
                    case Survivors::Kind::calls:
                        return drawn;
                    case Survivors::Kind::sectors:
                        break;
                }
                return random() % 16 < keep_in_16;
            });
        }
        return folder;
    }

  private:
    Folder durable_;
    const std::vector<FolderCall>& log_;
    std::size_t calls_ = 0;
    std::vector<const FolderCall*> pending_;
};

}  // namespace qimg::test
