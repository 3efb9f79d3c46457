// A file system that libext2fs has open on a Volume. libext2fs believes what it reads: only what verify() accepts may
// come here.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ext2fs/ext2fs.h>

#include <memory>
#include <string_view>

#include "guest/volume.hpp"
#include "qimg/error.hpp"

namespace qimg::guest::ext4 {

class Filesystem {
  public:
    Filesystem(Filesystem&&) noexcept;
    Filesystem& operator=(Filesystem&&) noexcept;
    ~Filesystem();

    // The volume must live longer.
    static Result<Filesystem> open(Volume& volume);

    ext2_filsys get() const { return fs_.get(); }
    // A code of libext2fs as an error; the volume's own, when that was the reason.
    Result<void> check(errcode_t code, std::string_view doing) const;
    // Writes superblock and descriptors, and their copies.
    Result<void> flush();

  private:
    struct Free {
        void operator()(ext2_filsys fs) const { ext2fs_free(fs); }
    };
    struct Line;  // between libext2fs and the volume
    struct LineManager;
    explicit Filesystem(std::unique_ptr<Line> line);

    // in this order: closing the file system uses the line
    std::unique_ptr<Line> line_;
    std::unique_ptr<struct_ext2_filsys, Free> fs_;
};

}  // namespace qimg::guest::ext4
