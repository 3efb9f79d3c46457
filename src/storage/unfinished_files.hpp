// Names of files that are not complete yet, where they need one: who made them, that they go when the process
// ends, and removing those that a killed process left.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace qimg {

// A hidden name beside `target` that says which process it belongs to. The file goes with this object, and when
// a signal ends the process (see remove_unfinished_on_signals).
class UnfinishedName {
  public:
    UnfinishedName(const std::string& target, int attempt);
    ~UnfinishedName();
    UnfinishedName(const UnfinishedName&) = delete;
    UnfinishedName& operator=(const UnfinishedName&) = delete;

    const std::string& path() const { return path_; }
    // There is no file of that name, or it is not ours.
    void forget();

  private:
    std::string path_;
    int slot_ = -1;  // where the signal handler finds it; -1: nowhere
};

// Removes what killed processes left of files that were to be called `target`: regular files with such a name
// whose process is gone and which nobody has locked.
void remove_leftovers(const std::string& target);

}  // namespace qimg
