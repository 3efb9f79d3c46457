# Reads and overwrites single fields of a qcow2 file, so that scenarios can break it on purpose.
# Knows the layout alone, checks nothing: that is the business of the programs under test.
# SPDX-License-Identifier: Apache-2.0
import os
import struct

COPIED = 1 << 63
COMPRESSED = 1 << 62
OFFSET = 0x00FFFFFFFFFFFE00


class Image:
    """An image file; every method opens it anew, so that other programs may change it in between."""

    def __init__(self, path):
        self.path = path

    def read(self, at, length):
        with open(self.path, "rb") as file:
            file.seek(at)
            return file.read(length)

    def write(self, at, data):
        with open(self.path, "r+b") as file:
            file.seek(at)
            file.write(data)

    def size(self):
        return os.path.getsize(self.path)

    def u32(self, at, value=None):
        if value is None:
            return struct.unpack(">I", self.read(at, 4).ljust(4, b"\0"))[0]
        return self.write(at, struct.pack(">I", value))

    def u64(self, at, value=None):
        if value is None:
            return struct.unpack(">Q", self.read(at, 8).ljust(8, b"\0"))[0]
        return self.write(at, struct.pack(">Q", value))

    @property
    def cluster(self):
        return 1 << self.u32(20)

    @property
    def refcount_bits(self):
        return 16 if self.u32(4) == 2 else 1 << self.u32(96)

    @property
    def l2_entry_bytes(self):
        extended = self.u32(4) > 2 and self.u64(72) & 16
        return 16 if extended else 8

    @property
    def l1(self):
        return self.u64(40)

    @property
    def reftable(self):
        return self.u64(48)

    @property
    def snapshots(self):
        return self.u64(64)

    def l2(self, index=0):
        """Where the L2 table of an entry of the active L1 table lies."""
        return self.u64(self.l1 + 8 * index) & OFFSET

    def l2_entry(self, guest_cluster):
        """Where the active L2 entry of a guest cluster lies."""
        per_table = self.cluster // self.l2_entry_bytes
        return self.l2(guest_cluster // per_table) + guest_cluster % per_table * self.l2_entry_bytes

    def data(self, guest_cluster):
        """The host offset of a guest cluster."""
        return self.u64(self.l2_entry(guest_cluster)) & OFFSET

    def snapshot_l1(self):
        """The L1 table of the first snapshot."""
        return self.u64(self.snapshots)

    def refblock(self, index=0):
        return self.u64(self.reftable + 8 * index)

    def refcount(self, host_cluster, value):
        """Overwrites a refcount; its block must exist."""
        bits = self.refcount_bits
        per_block = self.cluster * 8 // bits
        block = self.refblock(host_cluster // per_block)
        bit = host_cluster % per_block * bits
        if bits >= 8:
            self.write(block + bit // 8, value.to_bytes(bits // 8, "big"))
            return
        old = self.read(block + bit // 8, 1)[0]
        mask = ((1 << bits) - 1) << bit % 8
        self.write(block + bit // 8, bytes([old & ~mask & 0xFF | value << bit % 8]))

    def bitmap_extension(self):
        """Where the data of the bitmaps extension lies."""
        at = self.u32(100)
        while self.u32(at) != 0x23852875:
            at += 8 + (self.u32(at + 4) + 7) // 8 * 8
        return at + 8
