// The opener of all commands: which names out of headers they follow.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qimg/image.hpp"

namespace qimg::cli {

// qimg --trust: names in headers are followed wherever they lead.
void trust_headers();

// Refuses a risky name with advice, or warns and follows it where qemu-img's behaviour is asked for.
Opener& command_opener();

}  // namespace qimg::cli
