# Hostile images: each function makes one, called "image", in the current folder, with what it names beside it.
# Knows how to lie in a header or a table; what programs must not do with it is the test's business.
# SPDX-License-Identifier: Apache-2.0
import os
import struct
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "check"))
from qcow2_bytes import COMPRESSED, COPIED, Image  # noqa: E402

IMAGES = {}
MIB = 1 << 20
SECRET = "../secret"  # outside the folder of the image: nobody named it on a command line
# fields of the header
SIZE, L1_SIZE, L1, REFTABLE, REFTABLE_CLUSTERS, SNAPSHOTS, SNAPSHOT_TABLE = 24, 36, 40, 48, 56, 60, 64
INCOMPATIBLE, COMPATIBLE, AUTOCLEAR, ORDER, LENGTH, EXTENSIONS = 72, 80, 88, 96, 100, 112

QIMG = "qimg"  # the test puts the program here


def hostile(make):
    IMAGES[make.__name__] = make
    return make


def qimg(*arguments):
    subprocess.run([QIMG, *arguments], check=True, stdout=subprocess.DEVNULL)


def create(size="64M", data=4, **options):
    """A sound image with data in its first guest clusters, to be made a hostile one."""
    cluster = int(options.get("cluster_size", 65536))
    with open("content.raw", "wb") as file:
        for number in range(data):
            file.write(bytes([number + 1]) * cluster)
    text = ",".join(f"{name}={value}" for name, value in options.items())
    qimg("convert", "-f", "raw", "-O", "qcow2", *(["-o", text] if text else []), "content.raw", "image")
    qimg("resize", "-q", "image", size)
    os.unlink("content.raw")
    return Image("image")


def grow(image, clusters=1):
    """Clusters of zeroes at the end of the file; returns the offset of the first."""
    at = -(-image.size() // image.cluster) * image.cluster
    os.truncate(image.path, at + clusters * image.cluster)
    return at


def extensions(image, *parts):
    """Replaces the header extensions by (type, data) or (type, data, length that is claimed)."""
    raw = b""
    for kind, data, *claimed in parts:
        raw += struct.pack(">II", kind, claimed[0] if claimed else len(data)) + data.ljust(-(-len(data) // 8) * 8, b"\0")
    image.write(image.u32(LENGTH), raw + bytes(8))


def backing(image, name):
    """The name at the end of the header cluster."""
    raw = name if isinstance(name, bytes) else name.encode()
    at = image.cluster - 1024
    image.write(at, raw)
    image.u64(8, at)
    image.u32(16, len(raw))


@hostile
def sound():
    create()


@hostile
def l1_of_maximal_size_in_a_tiny_file():
    create().u32(L1_SIZE, 32 * MIB // 8)


@hostile
def l1_past_every_limit():
    create().u32(L1_SIZE, 0xFFFFFFFF)


@hostile
def l1_on_the_header():
    create().u64(L1, 0)


@hostile
def l1_far_outside():
    create().u64(L1, 1 << 55)


@hostile
def l1_in_a_hole():
    image = create(size="1T")
    image.u64(L1, grow(image, 4096))


@hostile
def l1_entries_all_the_same_table():
    image = create()
    table = grow(image, 2)
    image.write(table, struct.pack(">Q", image.l2() | COPIED) * 16384)
    image.u64(L1, table)
    image.u32(L1_SIZE, 16384)
    image.u64(SIZE, 16384 << 29)


@hostile
def l1_entries_unaligned_and_reserved():
    image = create(size="4G")
    for index, entry in enumerate((512, 0x7F00000000000000, (1 << 64) - 1, COPIED)):
        image.u64(image.l1 + 8 * index, entry)


def l2_entry(name, entry, number=1, **options):
    """An image whose guest cluster has an entry that `entry` makes of the image."""
    def make():
        image = create(**options)
        image.u64(image.l2_entry(number), entry(image))
    make.__name__ = name
    return hostile(make)


l2_entry("data_on_the_header", lambda image: COPIED)
l2_entry("data_on_the_l1_table", lambda image: COPIED | image.l1)
l2_entry("data_on_its_l2_table", lambda image: COPIED | image.l2())
l2_entry("data_on_the_refcount_table", lambda image: COPIED | image.reftable)
l2_entry("data_on_a_refcount_block", lambda image: COPIED | image.refblock())
l2_entry("data_behind_the_file", lambda image: COPIED | 1 << 30)
l2_entry("data_exabytes_away", lambda image: COPIED | 0x00FFFFFFFFFF0000)
l2_entry("data_unaligned", lambda image: COPIED | image.data(0) | 512)
l2_entry("data_reserved_bits", lambda image: 0x3F000000000001FE | image.data(0))
l2_entry("zeroes_on_the_header", lambda image: COPIED | 1)
l2_entry("zeroes_on_the_l1_table", lambda image: COPIED | image.l1 | 1)
l2_entry("compressed_past_the_end", lambda image: COMPRESSED | (1 << 62) - 1)
l2_entry("compressed_just_past_the_end", lambda image: COMPRESSED | 0xFF << 54 | image.size() - 100)
l2_entry("compressed_on_the_header", lambda image: COMPRESSED)
l2_entry("compressed_in_2m_clusters", lambda image: COMPRESSED | (1 << 62) - 1, cluster_size=2 * MIB, data=2)
l2_entry("subclusters_both_ways", lambda image: COPIED, extended_l2="on")
l2_entry("small_clusters_on_the_l1_table", lambda image: COPIED | image.l1, cluster_size=512, size="1M")


@hostile
def l2_table_is_the_l1_table():
    image = create()
    image.u64(image.l1, COPIED | image.l1)


@hostile
def l2_table_is_a_refcount_block():
    image = create()
    image.u64(image.l1, COPIED | image.refblock())


@hostile
def l2_table_exabytes_away():
    image = create()
    image.u64(image.l1, COPIED | 0x00FFFFFFFFFF0000)


@hostile
def every_cluster_the_same_data():
    image = create(size="512M")
    image.write(image.l2(), struct.pack(">Q", image.data(0)) * 8192)


@hostile
def every_cluster_the_same_compressed_data():
    """512 MiB of guest data out of one hundred bytes: a bomb, but of a size that info tells."""
    create(size="64M")
    qimg("convert", "-c", "-O", "qcow2", "image", "small")
    os.replace("small", "image")
    image = Image("image")
    image.write(image.l2(), struct.pack(">Q", image.u64(image.l2_entry(0))) * 1024)


@hostile
def refcount_table_huge():
    create().u32(REFTABLE_CLUSTERS, 128)


@hostile
def refcount_table_past_every_limit():
    create().u32(REFTABLE_CLUSTERS, 0xFFFFFFFF)


@hostile
def refcount_table_absent():
    create().u32(REFTABLE_CLUSTERS, 0)


@hostile
def refcount_table_on_the_header():
    create().u64(REFTABLE, 0)


@hostile
def refcount_table_on_the_l1_table():
    image = create()
    image.u64(REFTABLE, image.l1)


@hostile
def refcount_blocks_all_the_same():
    image = create()
    image.write(image.refblock(), b"\0\1" * 32768)
    image.write(image.reftable, struct.pack(">Q", image.refblock()) * 8192)


@hostile
def refcount_block_exabytes_away():
    image = create()
    image.u64(image.reftable, 0x7FFFFFFFFFFF0000)


@hostile
def refcount_block_is_the_l1_table():
    image = create()
    image.u64(image.reftable, image.l1)


@hostile
def refcounts_all_zero():
    image = create()
    image.write(image.refblock(), bytes(65536))


@hostile
def refcounts_all_full():
    image = create()
    image.write(image.refblock(), b"\xff" * 65536)


@hostile
def refcounts_64_bits_all_full():
    image = create(refcount_bits=64)
    image.write(image.refblock(), b"\xff" * 65536)


@hostile
def snapshots_beyond_counting():
    image = create()
    image.u32(SNAPSHOTS, 0xFFFFFFFF)
    image.u64(SNAPSHOT_TABLE, grow(image))


@hostile
def snapshots_past_the_end():
    image = create()
    image.u32(SNAPSHOTS, 65536)
    image.u64(SNAPSHOT_TABLE, image.size())


@hostile
def snapshots_on_the_header():
    image = create()
    image.u32(SNAPSHOTS, 1)
    image.u64(SNAPSHOT_TABLE, 0)


def snapshot(image, l1=None, entries=1, extra=16, ids=1, name=b"name"):
    table = grow(image)
    at = image.l1 if l1 is None else l1
    head = struct.pack(">QIHHIIQII", at, entries, ids, len(name), 1, 2, 3, 4, extra)
    image.write(table, head + bytes(8) + struct.pack(">Q", image.u64(SIZE)) + b"1" * ids + name)
    image.u32(SNAPSHOTS, 1)
    image.u64(SNAPSHOT_TABLE, table)


@hostile
def snapshot_with_huge_extra_data():
    snapshot(create(), extra=0xFFFFFFFF)


@hostile
def snapshot_with_a_long_name():
    snapshot(create(), ids=65535, name=b"n" * 65535)


@hostile
def snapshot_with_terminal_escapes():
    snapshot(create(), name=b"\x1b]0;owned\x07\x1b[2J")


@hostile
def snapshot_with_the_header_as_l1():
    snapshot(create(), l1=0, entries=100)


@hostile
def snapshot_l1_exabytes_away():
    snapshot(create(), l1=0x00FFFFFFFFFF0000, entries=4 * MIB)


@hostile
def snapshot_l1_of_maximal_size():
    snapshot(create(), entries=4 * MIB)


@hostile
def snapshot_l1_past_every_limit():
    snapshot(create(), entries=0xFFFFFFFF)


@hostile
def snapshots_sharing_one_huge_l1():
    image = create()
    l1 = grow(image, 8)
    image.write(l1, struct.pack(">Q", image.l2()) * (8 * 8192))
    table = grow(image)
    entry = struct.pack(">QIHHIIQII", l1, 8 * 8192, 1, 3, 1, 2, 3, 4, 16) + bytes(16) + b"1all" + bytes(4)
    count = 100
    image.write(table, entry * count)
    image.u32(SNAPSHOTS, count)
    image.u64(SNAPSHOT_TABLE, table)


def bitmaps(image, count, size, at, reserved=0):
    extensions(image, (0x23852875, struct.pack(">IIQQ", count, reserved, size, at)))
    image.u64(AUTOCLEAR, 1)


def bitmap_entry(table, entries, granularity=16, name=b"b", extra=0):
    raw = struct.pack(">QIIBBHI", table, entries, 2, 1, granularity, len(name), extra) + name
    return raw.ljust(-(-len(raw) // 8) * 8, b"\0")


@hostile
def bitmap_directory_huge():
    image = create()
    bitmaps(image, 65535, 65535 * 1024, grow(image))


@hostile
def bitmap_directory_on_the_header():
    bitmaps(create(), 1, 65536, 0)


@hostile
def bitmap_directory_on_the_l1_table():
    image = create()
    image.write(image.l1, bitmap_entry(65536, 1))
    bitmaps(image, 1, 32, image.l1)


@hostile
def bitmap_table_huge():
    image = create()
    at = grow(image)
    raw = bitmap_entry(65536, 0xFFFFFFFF)
    image.write(at, raw)
    bitmaps(image, 1, len(raw), at)


@hostile
def bitmap_table_exabytes_away():
    image = create()
    at = grow(image)
    raw = bitmap_entry(0x7FFFFFFFFFFF0000, 1)
    image.write(at, raw)
    bitmaps(image, 1, len(raw), at)


@hostile
def bitmap_with_terminal_escapes():
    image = create()
    at = grow(image, 2)
    raw = bitmap_entry(at + 65536, 1, name=b"\x1b[31mred")
    image.write(at, raw)
    bitmaps(image, 1, len(raw), at)


@hostile
def bitmap_entry_of_extra_data():
    image = create()
    at = grow(image)
    raw = bitmap_entry(65536, 1, extra=0xFFFFFFF8)
    image.write(at, raw)
    bitmaps(image, 1, len(raw), at)


@hostile
def cluster_bits_0():
    create().u32(20, 0)


@hostile
def cluster_bits_8():
    create().u32(20, 8)


@hostile
def cluster_bits_22():
    create().u32(20, 22)


@hostile
def cluster_bits_63():
    create().u32(20, 63)


@hostile
def cluster_bits_all():
    create().u32(20, 0xFFFFFFFF)


@hostile
def cluster_bits_21_of_16():
    create().u32(20, 21)


@hostile
def cluster_bits_9_of_16():
    create().u32(20, 9)


@hostile
def disk_of_eight_exabytes():
    create().u64(SIZE, (1 << 63) - 1)


@hostile
def disk_of_all_ones():
    create().u64(SIZE, (1 << 64) - 1)


@hostile
def disk_of_two_exabytes_without_data():
    """As large as tables of 2 MiB clusters can say, and an L1 table that takes its 32 MiB."""
    qimg("create", "-q", "-f", "qcow2", "-o", "cluster_size=2M", "image", "1E")


@hostile
def refcount_order_7():
    create().u32(ORDER, 7)


@hostile
def refcount_order_all():
    create().u32(ORDER, 0xFFFFFFFF)


def header_length(name, length):
    def make():
        create().u32(LENGTH, length)
    make.__name__ = name
    return hostile(make)


header_length("header_length_odd", 105)
header_length("header_length_short", 72)
header_length("header_length_zero", 0)
header_length("header_length_of_a_cluster", 65536)
header_length("header_length_past_the_cluster", 65544)
header_length("header_length_all", 0xFFFFFFF8)


@hostile
def extension_length_huge():
    extensions(create(), (0x12345678, b"", 0xFFFFFFFF))


@hostile
def extension_length_to_the_last_byte():
    extensions(create(), (0x12345678, b"", 65536 - EXTENSIONS - 8))


@hostile
def extensions_without_end():
    image = create()
    image.write(EXTENSIONS, struct.pack(">II", 0x12345678, 0) * ((65536 - EXTENSIONS) // 8))


@hostile
def features_unknown():
    create().u64(INCOMPATIBLE, 1 << 42)


@hostile
def features_unknown_with_names():
    image = create()
    extensions(image, (0x6803F857, bytes([0, 42]) + b"\x1b[2Jcleared".ljust(46, b"\0")))
    image.u64(INCOMPATIBLE, 1 << 42)


@hostile
def encrypted():
    create().u32(32, 1)


@hostile
def marked_dirty_and_broken():
    image = create()
    image.u64(image.l2_entry(1), COPIED | image.l1)
    image.u64(INCOMPATIBLE, 1)


@hostile
def marked_corrupt():
    create().u64(INCOMPATIBLE, 2)


@hostile
def data_file_outside():
    image = create()
    image.u64(INCOMPATIBLE, 4)
    extensions(image, (0x44415441, SECRET.encode()))


@hostile
def backing_file_outside():
    backing(create(), SECRET)


@hostile
def backing_file_outside_called_raw():
    image = create()
    backing(image, SECRET)
    extensions(image, (0xE2792ACA, b"raw"))


@hostile
def backing_name_of_1023_bytes():
    backing(create(), "x" * 1023)


@hostile
def backing_name_of_json():
    backing(create(), 'json:{"driver":"raw","file":{"driver":"file","filename":"' + SECRET + '"}}')


@hostile
def backing_name_with_terminal_escapes():
    backing(create(), b"\x1b]0;owned\x07")


@hostile
def backing_name_longer_than_the_header():
    image = create()
    backing(image, "base")
    image.u32(16, 0xFFFFFFFF)


@hostile
def backing_name_past_the_header():
    image = create()
    backing(image, "base")
    image.u64(8, 1 << 62)


@hostile
def backing_file_is_itself():
    backing(create(), "image")


@hostile
def backing_files_in_a_ring():
    create()
    os.replace("image", "other")
    backing(Image("other"), "./image")
    backing(create(), "other")


@hostile
def chain_of_500_images():
    create(size="1M", data=1, cluster_size=4096)
    for number in range(499, 0, -1):
        Path(f"link{number}").write_bytes(Path("image").read_bytes())
        link = Image(f"link{number}")
        if number < 499:
            backing(link, f"link{number + 1}")
        else:
            backing(link, SECRET)
    backing(Image("image"), "link1")


@hostile
def chain_of_180_images_with_huge_l1_tables():
    create(size="1M", data=1).u32(L1_SIZE, 4 * MIB)
    content = Path("image").read_bytes()
    for number in range(180):
        Path(f"link{number}").write_bytes(content)
        if number < 179:
            backing(Image(f"link{number}"), f"link{number + 1}")
    backing(Image("image"), "link0")


@hostile
def file_cut_in_the_header():
    create()
    os.truncate("image", 50)


@hostile
def file_cut_behind_the_header():
    create()
    os.truncate("image", 65536)


@hostile
def file_of_only_the_magic():
    Path("image").write_bytes(b"QFI\xfb\0\0\0\3" + b"\xff" * 1000)


@hostile
def version_1():
    create().u32(4, 1)


@hostile
def version_all():
    create().u32(4, 0xFFFFFFFF)


@hostile
def every_field_of_all_ones():
    image = create()
    image.write(8, b"\xff" * 104)
