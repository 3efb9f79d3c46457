# The broken (and whole) images that qimg check and qemu-img check must agree on.
# Each function makes one image in an empty folder; what is expected of it is what qemu-img says.
# SPDX-License-Identifier: Apache-2.0
import subprocess

from qcow2_bytes import COMPRESSED, COPIED, Image

SCENARIOS = {}


def scenario(function):
    SCENARIOS[function.__name__] = function
    return function


def run(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def create(size="64M", **options):
    """An image with 4 written clusters at its front and one further back."""
    extra = ",".join(f"{name}={value}" for name, value in options.items())
    run("qemu-img", "create", "-q", "-f", "qcow2", *(["-o", extra] if extra else []), "image", size)
    image = Image("image")
    cluster = image.cluster
    io("write -P 1 0 %d" % (4 * cluster), "write -P 2 %d %d" % (7 * cluster, cluster))
    return image


def io(*commands, target="image"):
    flags = [word for command in commands for word in ("-c", command)]
    run("qemu-io", "-f", "qcow2", *flags, target)


def snapshot(name="first"):
    run("qemu-img", "snapshot", "-c", name, "image")


def grow(image, clusters=1):
    """Clusters of zeroes behind the end; the number of the first."""
    size = (image.size() + image.cluster - 1) // image.cluster * image.cluster
    with open(image.path, "r+b") as file:
        file.truncate(size + clusters * image.cluster)
    return size // image.cluster


def clean_of_every_width(bits):
    def make():
        create(refcount_bits=bits)
    return make


def mismatches_of_width(bits):
    def make():
        image = create(refcount_bits=bits)
        image.refcount(image.data(0) // image.cluster, 0 if bits == 1 else (1 << bits) - 1)
        if bits > 1:
            image.refcount(image.data(1) // image.cluster, 2)
        end = grow(image)
        image.refcount(end, 1)
    return make


for width in (1, 2, 4, 8, 16, 32, 64):
    SCENARIOS[f"clean_refcount_bits_{width}"] = clean_of_every_width(width)
    SCENARIOS[f"mismatches_refcount_bits_{width}"] = mismatches_of_width(width)


def leak_with_clusters_of(cluster):
    def make():
        image = create(cluster_size=cluster, size="16M")
        image.refcount(grow(image), 1)
    return make


for size in ("512", "4k", "2M"):
    SCENARIOS[f"leak_cluster_size_{size}"] = leak_with_clusters_of(size)


@scenario
def version_2_leak():
    image = create(compat="0.10")
    image.refcount(grow(image), 1)


@scenario
def empty_image():
    run("qemu-img", "create", "-q", "-f", "qcow2", "image", "1G")


@scenario
def full_metadata():
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "preallocation=metadata", "image", "2G")


@scenario
def fragmented():
    image = create()
    io(*("write -P 3 %d %d" % (cluster * image.cluster, image.cluster) for cluster in (40, 38, 36, 30, 31)))


@scenario
def refcount_too_low():
    image = create()
    snapshot()
    image.refcount(image.data(0) // image.cluster, 1)


@scenario
def refcounts_behind_the_end():
    """Clusters that the file does not have count as used: nobody's space, so no leak."""
    image = create()
    for cluster in (0, 1, 1000):
        image.refcount(image.size() // image.cluster + cluster, 1 + cluster)


@scenario
def refcounts_behind_the_end_and_leak():
    image = create()
    image.refcount(image.size() // image.cluster + 3, 1)
    image.refcount(grow(image), 1)


@scenario
def refcount_zero():
    image = create()
    image.refcount(image.data(0) // image.cluster, 0)


@scenario
def refcount_zero_with_leak():
    image = create()
    image.refcount(image.data(0) // image.cluster, 0)
    image.refcount(grow(image), 1)


@scenario
def leak_and_corruption():
    image = create()
    snapshot()
    image.refcount(image.data(0) // image.cluster, 1)
    image.refcount(image.data(1) // image.cluster, 5)


@scenario
def many_leaks():
    image = create()
    first = grow(image, 50)
    for cluster in range(first, first + 50, 2):
        image.refcount(cluster, 3)


@scenario
def snapshot_clean():
    create()
    snapshot()
    io("write -P 9 64k 128k")
    snapshot("second")


@scenario
def snapshot_l2_lost():
    image = create()
    snapshot()
    io("write -P 9 64k 128k")
    image.u64(image.snapshot_l1(), 0)


@scenario
def snapshot_l1_unaligned():
    image = create()
    snapshot()
    image.u64(image.snapshots, image.snapshot_l1() + 512)


@scenario
def snapshot_l1_outside():
    image = create()
    snapshot()
    image.u64(image.snapshots, image.cluster * 5000)


@scenario
def snapshot_l1_too_large():
    image = create()
    snapshot()
    image.u32(image.snapshots + 8, 0x7FFFFFFF)


@scenario
def snapshot_shares_broken_l2():
    image = create()
    image.u64(image.l2_entry(2), COPIED | image.data(2) | 512)
    image.u64(image.l2_entry(3), COPIED | image.cluster * 7000)
    image.refcount(image.data(2) // image.cluster, 1)
    snapshot_by_hand(image)


def set_extra_data(image, extra):
    """The extra data of the first snapshot; it must be the only one."""
    old = image.read(image.snapshots, 256)
    names = int.from_bytes(old[12:14], "big") + int.from_bytes(old[14:16], "big")
    names = old[40 + int.from_bytes(old[36:40], "big") :][:names]
    image.write(image.snapshots, old[:36] + len(extra).to_bytes(4, "big") + extra + names)


def snapshot_entry_incomplete(extra_bytes):
    def make():
        image = create()
        snapshot()
        set_extra_data(image, bytes(extra_bytes))
    return make


for size in (0, 8):
    SCENARIOS[f"snapshot_entry_incomplete_{size}"] = snapshot_entry_incomplete(size)


@scenario
def snapshot_entry_incomplete_and_leak():
    image = create()
    snapshot()
    set_extra_data(image, b"")
    image.refcount(grow(image), 1)


@scenario
def snapshot_entry_unknown_extra():
    image = create()
    snapshot()
    set_extra_data(image, bytes(24) + b"very important data" + bytes(981))


@scenario
def snapshot_entry_much_extra():
    image = create()
    snapshot()
    set_extra_data(image, bytes(24) + b"x" * 1001)


@scenario
def snapshot_entry_much_extra_uncounted():
    """The entry reaches into a cluster that nothing counts."""
    image = create()
    snapshot()
    set_extra_data(image, bytes(image.cluster))


@scenario
def snapshot_table_too_long():
    """Entries of version 2 that are all zero, more than there may be."""
    image = create(compat="0.10")
    clusters = 42
    first = grow(image, clusters)
    for cluster in range(first, first + clusters):
        image.refcount(cluster, 1)
    image.u64(64, first * image.cluster)
    image.u32(60, 65540)


def snapshot_by_hand(image):
    """A snapshot that shares the active L1 table's contents, refcounts as they were."""
    table = grow(image, 2)
    cluster = image.cluster
    image.write((table + 1) * cluster, image.read(image.l1, 8 * image.u32(36)))
    head = (((table + 1) * cluster).to_bytes(8, "big") + image.u32(36).to_bytes(4, "big") +
            bytes([0, 1, 0, 4]) + bytes(20) + (16).to_bytes(4, "big") + bytes(8) + image.u64(24).to_bytes(8, "big"))
    image.write(table * cluster, head + b"1hand" + bytes(3))
    image.u32(60, 1)
    image.u64(64, table * cluster)


@scenario
def copied_flag_missing():
    image = create()
    image.u64(image.l2_entry(1), image.data(1))


@scenario
def copied_flag_missing_in_l1():
    image = create()
    image.u64(image.l1, image.l2())


@scenario
def copied_flag_wrong():
    image = create()
    snapshot()
    image.u64(image.l1, image.l2() | COPIED)
    image.u64(image.l2_entry(0), image.data(0) | COPIED)


@scenario
def copied_flag_and_refcount():
    image = create()
    snapshot()
    image.u64(image.l2_entry(0), image.data(0) | COPIED)
    image.refcount(image.data(0) // image.cluster, 1)


@scenario
def data_unaligned():
    image = create()
    image.u64(image.l2_entry(1), COPIED | image.data(1) | 512)


@scenario
def preallocated_zero_unaligned():
    image = create()
    image.u64(image.l2_entry(1), COPIED | image.data(1) | 512 | 1)


@scenario
def data_outside():
    image = create()
    image.u64(image.l2_entry(1), COPIED | 0x4000000000)


@scenario
def data_far_outside():
    image = create()
    image.u64(image.l2_entry(1), COPIED | 0x00FFFFFFFFFF0000)


@scenario
def data_shared():
    image = create()
    image.u64(image.l2_entry(1), COPIED | image.data(0))


@scenario
def data_on_header():
    image = create(cluster_size=4096)
    image.u64(image.l2_entry(1), COPIED | image.l1)


@scenario
def l2_reserved_bits():
    image = create()
    image.u64(image.l2_entry(1), COPIED | image.data(1) | 6)


@scenario
def l1_reserved_bits():
    image = create()
    image.u64(image.l1, COPIED | image.l2() | 5 | 1 << 60)


@scenario
def l2_table_unaligned():
    image = create()
    image.u64(image.l1, COPIED | image.l2() | 512)


@scenario
def l2_table_outside():
    image = create(size="1G")
    image.u64(image.l1, COPIED | 0x40000000000)


@scenario
def l2_table_lost():
    image = create(size="1G")
    image.u64(image.l1, 0)


@scenario
def l2_tables_shared():
    image = create(size="4G")
    for index in range(1, 8):
        image.u64(image.l1 + 8 * index, image.u64(image.l1))


@scenario
def l2_is_l1():
    image = create(size="2G")
    image.u64(image.l1 + 8, COPIED | image.l1)


@scenario
def refcount_overflow_1_bit():
    image = create(refcount_bits=1)
    image.u64(image.l2_entry(1), COPIED | image.data(0))


@scenario
def refcount_overflow_2_bits():
    image = create(refcount_bits=2)
    for cluster in range(1, 4):
        image.u64(image.l2_entry(cluster), COPIED | image.data(0))
    image.u64(image.l2_entry(7), COPIED | image.data(0))


@scenario
def refcount_widened():
    image = create(cluster_size=4096, refcount_bits=32, size="8M")
    image.u64(image.l2_entry(1), COPIED | image.data(0))
    image.refcount(image.data(2) // image.cluster, 70000)


@scenario
def refblock_unaligned():
    image = create()
    image.u64(image.reftable, image.refblock() + 512)


@scenario
def refblock_reserved_bits():
    image = create()
    image.u64(image.reftable, image.refblock() | 1)


@scenario
def refblock_outside():
    image = create()
    image.u64(image.reftable + 8, 0x40000000)


@scenario
def refblock_far_outside():
    image = create()
    image.u64(image.reftable + 8, 0x7FFFFFFFFFFF0000)


@scenario
def refblock_missing():
    image = create()
    image.u64(image.reftable, 0)


@scenario
def refblock_is_header():
    image = create()
    image.u64(image.reftable + 8, image.refblock())


@scenario
def refblock_on_data():
    image = create()
    image.u64(image.reftable + 8, image.data(0))


@scenario
def reftable_empty():
    image = create()
    image.u32(56, 0)


@scenario
def reftable_outside():
    image = create()
    image.u64(48, 0x40000000)


@scenario
def reftable_on_data():
    image = create()
    image.u64(48, image.data(0))


@scenario
def refblock_zeroed():
    image = create()
    image.write(image.refblock(), bytes(image.cluster))


@scenario
def refblock_garbage():
    image = create(cluster_size=4096, size="4M")
    image.write(image.refblock(), b"\x01\x23" * (image.cluster // 2))


@scenario
def reftable_garbage():
    image = create(cluster_size=4096, size="4M")
    image.write(image.reftable, bytes(range(256)) * 2)


@scenario
def compressed():
    create()
    run("qemu-img", "convert", "-c", "-O", "qcow2", "image", "packed")
    run("mv", "packed", "image")


@scenario
def compressed_copied_flag():
    compressed()
    image = Image("image")
    image.u64(image.l2_entry(1), image.u64(image.l2_entry(1)) | COPIED)


@scenario
def compressed_outside():
    compressed()
    image = Image("image")
    image.u64(image.l2_entry(1), COMPRESSED | 5 << 54 | 0x40000000)


@scenario
def compressed_lost():
    compressed()
    image = Image("image")
    image.u64(image.l2_entry(1), 0)


@scenario
def compressed_refcounts_low():
    compressed()
    image = Image("image")
    at = image.u64(image.l2_entry(1)) & ((1 << 54) - 1)
    image.refcount(at // image.cluster, 1)


@scenario
def compressed_across_clusters():
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", "image", "1M")
    with open("noise", "wb") as file:
        file.write(b"".join(bytes([(i * i * 7 + i // 3) % 251]) * 3 for i in range(200000))[:524288])
    run("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", "-o", "cluster_size=4k", "noise", "image")
    run("rm", "noise")


@scenario
def zstd_compressed():
    create()
    run("qemu-img", "convert", "-c", "-O", "qcow2", "-o", "compression_type=zstd", "image", "packed")
    run("mv", "packed", "image")


@scenario
def extended_l2():
    image = create(extended_l2="on")
    io("write -P 5 20M 4k", "write -z 21M 8k", "discard 0 128k")
    image.refcount(grow(image), 1)


@scenario
def extended_l2_bitmap_contradiction():
    image = create(extended_l2="on")
    image.u64(image.l2_entry(1) + 8, 0x00000001FFFFFFFF)


@scenario
def extended_l2_unallocated_with_bitmap():
    image = create(extended_l2="on")
    image.u64(image.l2_entry(20) + 8, 0xFF)


@scenario
def extended_l2_unaligned():
    image = create(extended_l2="on")
    image.u64(image.l2_entry(1), COPIED | image.data(1) | 512)


@scenario
def extended_l2_unaligned_zeroes():
    image = create(extended_l2="on")
    image.u64(image.l2_entry(1), COPIED | image.data(1) | 512)
    image.u64(image.l2_entry(1) + 8, 0xFFFFFFFF00000000)


@scenario
def extended_l2_unaligned_over_base():
    run("qemu-img", "create", "-q", "-f", "raw", "base", "128k")
    run("qemu-io", "-f", "raw", "-c", "write -q -P 255 0 128k", "base")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "extended_l2=on", "-b", "base", "-F", "raw", "image")
    io("write -P 1 4k 2k", "write -z 4k 2k")  # the rest of the cluster is the base's
    image = Image("image")
    image.u64(image.l2_entry(0), image.u64(image.l2_entry(0)) | 512)


@scenario
def extended_l2_compressed_with_bitmap():
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "extended_l2=on", "image", "64M")
    io("write -c -P 3 0 64k")
    image = Image("image")
    image.u64(image.l2_entry(0) + 8, 1)


@scenario
def extended_l2_flag_zero():
    image = create(extended_l2="on")
    image.u64(image.l2_entry(1), image.u64(image.l2_entry(1)) | 1)


@scenario
def bitmaps():
    create()
    run("qemu-img", "bitmap", "--add", "image", "one")
    run("qemu-img", "bitmap", "--add", "-g", "32k", "image", "two")
    io("write -P 3 1M 256k")


@scenario
def bitmaps_unknown():
    bitmaps()
    image = Image("image")
    image.u64(88, image.u64(88) & ~1)


@scenario
def bitmap_table_outside():
    bitmaps()
    image = Image("image")
    image.u64(image.u64(image.bitmap_extension() + 16), 0x40000000)


@scenario
def bitmap_data_unaligned():
    bitmaps()
    image = Image("image")
    table = image.u64(image.u64(image.bitmap_extension() + 16))
    image.u64(table, image.u64(table) | 512)


@scenario
def bitmap_data_reserved_bits():
    bitmaps()
    image = Image("image")
    table = image.u64(image.u64(image.bitmap_extension() + 16))
    image.u64(table, image.u64(table) | 0x40)


@scenario
def bitmap_data_outside():
    bitmaps()
    image = Image("image")
    table = image.u64(image.u64(image.bitmap_extension() + 16))
    image.u64(table, 0x40000000)


@scenario
def bitmap_data_lost():
    bitmaps()
    image = Image("image")
    table = image.u64(image.u64(image.bitmap_extension() + 16))
    image.u64(table, 0)


@scenario
def data_file():
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "data_file=data", "image", "64M")
    io("write -P 7 0 256k", "write -P 8 3M 64k")
    image = Image("image")
    image.refcount(grow(image), 1)


@scenario
def data_file_copied_flag():
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "data_file=data", "image", "64M")
    io("write -P 7 0 256k", "write -P 8 3M 64k")
    image = Image("image")
    image.u64(image.l2_entry(2), image.data(2))


@scenario
def data_file_compressed():
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "data_file=data", "image", "64M")
    io("write -P 7 0 256k")
    image = Image("image")
    image.u64(image.l2_entry(1), COMPRESSED | 65536)


@scenario
def data_file_snapshot():
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "data_file=data", "image", "64M")
    io("write -P 7 0 256k")
    snapshot_by_hand(Image("image"))


@scenario
def dirty():
    image = create(lazy_refcounts="on")
    image.u64(72, image.u64(72) | 1)
    image.refcount(image.data(1) // image.cluster, 0)


@scenario
def dirty_but_right():
    image = create(lazy_refcounts="on")
    image.u64(72, image.u64(72) | 1)


@scenario
def marked_corrupt():
    image = create()
    image.u64(72, image.u64(72) | 2)


@scenario
def marked_corrupt_with_errors():
    image = create()
    image.u64(72, image.u64(72) | 2)
    image.refcount(image.data(1) // image.cluster, 5)


@scenario
def truncated():
    create()
    with open("image", "r+b") as file:
        file.truncate(Image("image").data(2) + 100)


@scenario
def truncated_tail():
    create()
    with open("image", "r+b") as file:
        file.truncate(Image("image").data(7) + 100)


@scenario
def l1_outside():
    image = create()
    image.u64(40, 0x40000000)


@scenario
def large_image_second_block():
    image = create(cluster_size=512, size="4M")
    io("write -P 4 1M 512k")
    image.refcount(600, 0)


@scenario
def leak_in_second_block():
    image = create(cluster_size=512, size="4M")
    io("write -P 4 1M 512k")
    image.refcount(600, 2)
    image.refcount(20, 3)


@scenario
def overlay():
    run("qemu-img", "create", "-q", "-f", "qcow2", "base", "64M")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", "image")
    io("write -P 1 0 128k")
    image = Image("image")
    image.refcount(grow(image), 1)
