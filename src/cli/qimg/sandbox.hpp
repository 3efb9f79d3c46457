// Giving up what a command that only reads images does not need, before it looks at the first one.
//
// Whoever makes a parser do his bidding finds a process without network, without other programs, without a
// file that it could write to, and sooner or later without a way to open one. Linux seccomp filters; see
// seccomp(2).
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace qimg::cli {

enum class MayOpen {
    to_read,  // any file, but none to write to it
    nothing,  // what is open stays so
};

// From here on, for this process and its threads: no new process, no socket, no memory that is made executable,
// and of files only what `files` says. What is denied fails with EPERM. A second call can only take more away.
// No effect where the kernel has no such filters. Before threads are started: those that run keep their rights.
void enter_sandbox(MayOpen files);

// enter_sandbox() does nothing any more: --no-sandbox.
void disable_sandbox();

}  // namespace qimg::cli
