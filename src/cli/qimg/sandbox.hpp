// Giving up what a command that only reads images does not need, before it opens the first one.
//
// Whoever makes a parser do his bidding finds a process without network, without other programs, and without a
// file that it could write to. Linux seccomp filters; see seccomp(2).
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace qimg::cli {

// From here on, for this process and its threads: no new process, no socket, files only to be read, no memory
// that is made executable. What is denied fails with EPERM. No effect where the kernel or the processor does not
// have such filters.
void enter_sandbox();

// enter_sandbox() does nothing any more: --no-sandbox.
void disable_sandbox();

}  // namespace qimg::cli
