// Faults: which of the calls that go through here are to fail.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "qimg/assembly.hpp"
#include "qimg/error.hpp"
#include "qimg/storage.hpp"

namespace qimg {

class Faults {
  public:
    explicit Faults(std::vector<Fault> faults) : faults_(std::move(faults)) {}

    // The error that a call is to end with, if there is a fault for it. Thread-safe.
    Result<void> check(Fault::Operation operation, std::uint64_t start, std::uint64_t length);

  private:
    std::mutex mutex_;
    std::vector<Fault> faults_;
};

// `storage` with faults in front of it.
std::unique_ptr<Storage> faulty_storage(std::unique_ptr<Storage> storage, std::vector<Fault> faults);

}  // namespace qimg
