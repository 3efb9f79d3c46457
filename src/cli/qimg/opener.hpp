// The opener of all commands: which names out of headers they follow.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qimg/image.hpp"

namespace qimg::cli {

// qimg --trust: names in headers are followed wherever they lead.
void trust_headers();

// Refuses a risky name with advice, or warns and follows it where qemu-img's behaviour is asked for.
Opener& command_opener();

// How far a command reaches that only reads images.
enum class Reach {
    file,   // one file
    chain,  // also what headers name: files are opened until the chain of the last image is open
};

// The same opener; from now on it puts the process into the sandbox (sandbox.hpp) as it opens. With Reach::file
// nothing can be opened any more when open() returns, which is before the first byte is looked at. With
// Reach::chain files can be opened to be read, until last_image_follows().
Opener& confined_opener(Reach reach);

// Once the next image and all below it are open, nothing can be opened any more.
void last_image_follows();

}  // namespace qimg::cli
