# What is compared with qemu-img: scenarios of commands on files that a shell script with the stock tools makes.
# SPDX-License-Identifier: Apache-2.0
import itertools
import shlex
from dataclasses import dataclass


@dataclass
class Scenario:
    name: str
    setup: str
    commands: list
    differs: str = ""  # why it prints something else on purpose
    changes: bool = True  # files are written by the program that is looked at


def lines(text):
    return [shlex.split(line) for line in text.strip().splitlines()]


RAW = "truncate -s 1M disk.raw; printf data | dd of=disk.raw bs=64k seek=3 conv=notrunc status=none\n"
IMAGES = RAW + r"""
qemu-img create -q -f qcow2 base.q 2M
qemu-io -c 'write 0 64k' -c 'write -z 128k 64k' -c 'write 192k 64k' -c 'write 576k 64k' -c 'write -z 576k 64k' base.q
qemu-img create -q -f qcow2 -b base.q -F qcow2 top.q 3M
qemu-io -c 'write 64k 64k' -c 'write -z 256k 100k' top.q
qemu-img create -q -f qcow2 compressed.q 1M
qemu-io -c 'write 0 64k' -c 'write -c 64k 64k' compressed.q
qemu-img create -q -f qcow2 -o compat=0.10 old.q 1M
qemu-img create -q -f qcow2 -o data_file=data.raw external.q 1M
qemu-img create -q -f qcow2 -o data_file=data2.raw,data_file_raw=on external-raw.q 1M
qemu-img create -q -f qcow2 -o extended_l2=on,compression_type=zstd,lazy_refcounts=on,refcount_bits=1 modern.q 5G
qemu-img create -q -f qcow2 snapped.q 64M
qemu-img snapshot -c one snapped.q
qemu-img snapshot -c 'a name that is longer than its column' snapped.q
qemu-img create -q -f qcow2 -o compat=0.10 snapped-old.q 1M
qemu-img snapshot -c one snapped-old.q
qemu-img create -q -f qcow2 bitmaps.q 1M
qemu-img bitmap --add bitmaps.q b0
qemu-img bitmap --add --disable -g 32k bitmaps.q b1
mkdir sub
(cd sub; qemu-img create -q -f qcow2 base.q 1M; qemu-img create -q -f qcow2 -b base.q -F qcow2 top.q)
qemu-img create -q -f qcow2 -b nowhere.q -F qcow2 -u orphan.q 1M
qemu-img create -q -f qcow2 -b orphan.q -F qcow2 -u orphan2.q 1M
qemu-img create -q -f qcow2 -b file:base.q -F qcow2 -u prefixed.q 1M
qemu-img create -q -f qcow2 -b "$PWD/base.q" -F raw -u absolute.q 1M
qemu-img create -q -f qcow2 -o lazy_refcounts=on dirty.q 1M
qemu-io -c 'write 0 64k' -c abort dirty.q 2>/dev/null || true
cp base.q feature.q; printf '\200' | dd of=feature.q bs=1 seek=72 conv=notrunc status=none
cp base.q version.q; printf '\0\0\0\11' | dd of=version.q bs=1 seek=4 conv=notrunc status=none
cp base.q bits.q; printf '\0\0\0\100' | dd of=bits.q bs=1 seek=20 conv=notrunc status=none
cp base.q corrupt.q; printf '\2' | dd of=corrupt.q bs=1 seek=79 conv=notrunc status=none
head -c 20 base.q > short.q
truncate -s 1000 odd.raw; printf x > one.raw; : > empty.raw
cp base.q 'é".q'; touch locked.raw; mkdir folder
"""
NAMES = """disk.raw base.q top.q compressed.q old.q external.q external-raw.q modern.q snapped.q snapped-old.q
bitmaps.q sub/top.q orphan.q orphan2.q prefixed.q absolute.q dirty.q feature.q version.q bits.q corrupt.q short.q odd.raw
one.raw empty.raw é".q folder nowhere.q nowhere/x file:base.q file:nowhere foo:bar""".split() + [""]


def queries():
    """Every query on every image."""
    for name in NAMES:
        yield Scenario(f"info {name}", IMAGES, [
            ["info", name], ["info", "--output=json", name], ["info", "--backing-chain", name],
            ["info", "--backing-chain", "--output=json", name], ["info", "-f", "raw", name],
            ["info", "-f", "qcow2", name], ["info", "-U", name]], changes=False)
        yield Scenario(f"map {name}", IMAGES, [
            ["map", name], ["map", "--output=json", name], ["map", "-f", "raw", "--output=json", name],
            ["map", "--start-offset=100k", "--output=json", name],
            ["map", "-s", "1000", "-l", "70000", "--output=json", name], ["map", "-s", "64k", name],
            ["map", "--start-offset=3M", "--output=json", name], ["map", "-l", "0", "--output=json", name]],
            changes=False)
        yield Scenario(f"snapshot -l {name}", IMAGES, [["snapshot", "-l", name], ["snapshot", "-U", "-l", name]],
                       "a snapshot table is shown though the backing image is gone" if "orphan" in name else "",
                       changes=False)
    yield Scenario("snapshot without an action", IMAGES, [["snapshot", "snapped.q"]], "lists, instead of nothing")


def usage():
    """Wrong command lines."""
    yield Scenario("usage", RAW, [[], *lines("""
        foo
        inf disk.raw
        --zz
        -z
        -T
        --trace
        info
        info a b
        info -zU disk.raw
        info -Uz disk.raw
        info -f
        info --outp=xml disk.raw
        info --o disk.raw
        info --output
        info --backing-chain=3 disk.raw
        info disk.raw -q
        info -- nowhere
        -- info nowhere
        info -f foo disk.raw
        info --object x disk.raw
        info --object secret disk.raw
        info --object secret,id=a,data=b disk.raw
        map
        map a b
        map --bad disk.raw
        map --output=x disk.raw
        map --start-offset=x disk.raw
        map --start-offset=-1 disk.raw
        map --start-offset=8E disk.raw
        map --max-length=x disk.raw
        map --max-length=16E disk.raw
        map --start-offset=9223372036854775807 --output=json disk.raw
        snapshot
        snapshot a b
        snapshot --bad a
        snapshot -c
        snapshot -l -c x disk.raw
        snapshot -c x -d y disk.raw
        resize
        resize disk.raw
        resize a b c
        resize --bad disk.raw 1M
        resize disk.raw --bad
        resize -U disk.raw 1M
        resize disk.raw 1M --shrink
        resize --preallocation=foo disk.raw 1M
        resize -f foo disk.raw 1M
        commit
        commit a b
        commit --bad a
        commit -U a
        commit -t foo base.q
        commit -r foo base.q
        commit -r 1x base.q
        commit -r 16E base.q
        commit -b
        rebase
        rebase a
        rebase -b
        rebase -b a
        rebase -b a b c
        rebase -F qcow2 a
        rebase --bad a
        rebase -t foo -b base.q top.q
        rebase -T foo -b base.q top.q
        create
        create -f qcow2
        create -c x 1M
        create --image-opts x 1M
        create -o
    """)])


def image_names():
    """JSON and option list names."""
    yield Scenario("image names", IMAGES, lines(r"""
        info 'json:{"driver":"qcow2"}'
        info 'json:{"driver":"qcow2","file":{"driver":"file","filename":"base.q"}}'
        info 'json:{"driver":"qcow2","file.filename":"base.q"}'
        info --output=json 'json:{"driver":"qcow2","file.filename":"base.q"}'
        info 'json:{"file.filename":"base.q"}'
        info 'json:{"file":"node"}'
        info 'json:{"driver":"foo","file.filename":"base.q"}'
        info 'json:{"driver":"raw","file.filename":"base.q"}'
        map 'json:{"driver":"qcow2","file.filename":"top.q","backing":null}'
        info 'json:{"driver":"qcow2","foo":1,"file.filename":"base.q"}'
        info 'json:{"driver":"qcow2","file.filename":"nowhere"}'
        info --image-opts driver=qcow2,file.filename=base.q
        info --image-opts driver=qcow2,file.driver=file,file.filename=nowhere
        info --image-opts file.filename=base.q
        info --image-opts base.q
        info --image-opts -f qcow2 driver=qcow2,file.filename=base.q
        info --image-opts driver=qcow2,file.filename=
        map --image-opts driver=raw,file.filename=base.q
        snapshot -l --image-opts driver=qcow2,file.filename=snapped.q
        resize --image-opts driver=qcow2,file.filename=base.q 4M
    """))
    yield Scenario("broken JSON", "", [["info", "json:x"]], "says that it is no JSON, not at which letter")


def create_matrix():
    """Combinations of creation options, and what info says of the result."""
    values = {
        "compat": ["", "0.10", "1.1"], "cluster_size": ["", "512", "4k", "2M"], "extended_l2": ["", "on"],
        "lazy_refcounts": ["", "on"], "refcount_bits": ["", "1", "64"], "preallocation": ["", "metadata"],
    }
    everything = [dict(zip(values, chosen)) for chosen in itertools.product(*values.values())]
    for index, chosen in enumerate(everything):
        if index % 5 != 0:  # a fifth covers every pair of values
            continue
        options = ",".join(f"{name}={value}" for name, value in chosen.items() if value)
        arguments = ["-o", options] if options else []
        commands = [["create", "-f", "qcow2", *arguments, "x.q", "8M"], ["info", "x.q"], ["info", "--output=json", "x.q"]]
        if not chosen["preallocation"]:  # where a new file has its clusters is up to the program that wrote it
            commands.append(["map", "--output=json", "x.q"])
        yield Scenario(f"create -o {options}", "", commands)


OPTIONS = """foo=1 size size= =3 , a=1,,b=2 cluster_size=64k,, cluster_size=64k, size=1M cluster_size=3 cluster_size=1x
cluster_size=100 lazy_refcounts=maybe lazy_refcounts nolazy_refcounts lazy_refcounts= compat=3 refcount_bits=7
refcount_bits=x refcount_bits=-1 refcount_bits= refcount_bits=16k refcount_bits=0x10 refcount_bits=0 refcount_bits=128
refcount_bits=99999999999999999999 preallocation=foo preallocation help size=1G,help help=on ?
cluster_size=64k,cluster_size=4k compat=0.10,refcount_bits=1 backing_fmt=foo backing_fmt=qcow2 backing_file=
compression_type=foo compression_type=zstd extended_l2=on extended_l2=on,cluster_size=4k data_file_raw=on
compat=v2,lazy_refcounts=on compat=v2 compat=v3 compat=1.1 compat= cluster_size=4M cluster_size=256
cluster_size=18446744073709551616 cluster_size=-1 size=1.5k size=1e3 nocow=on nocow nofoo foo extent_size_hint=1M
backing_file=a,,b compression_type=zstd,compat=v2 extended_l2=on,compat=v2 encryption=off data_file=a
data_file=b,compat=v2 data_file=c,data_file_raw=on preallocation=off preallocation=full preallocation=falloc
preallocation=metadata,cluster_size=4k""".split() + [""]


def create_options():
    for option in OPTIONS:
        yield Scenario(f"option {option}", "", [["create", "-f", "qcow2", "-o", option, "x.q", "1M"], ["info", "x.q"]])
    for option in ("help", "preallocation=full", "preallocation=falloc", "preallocation=metadata", "preallocation=foo",
                   "cluster_size=64k", "nocow=off,extent_size_hint=4k,preallocation=off", "size=2M"):
        yield Scenario(f"raw option {option}", "", [["create", "-o", option, "x.raw", "1M"]])
    yield Scenario("option help", "", lines("""
        create -o help
        create -f qcow2 -o help
        create -f qcow2 -o help x
        create -f qcow2 -o cluster_size=4k -o help
        create -f foo -o help
        create -f foo -o help x
        create -f bochs -o help x
        create -f foo -o , x 1M
        create -f foo -o cluster_size=x x y
        create -f qcow2 -o cluster_size=4k -o lazy_refcounts=on x 1M
    """))


SIZES = """1 513 1b 1k 1.5G 0x200 1e6 1GB 1GiB -1 +1 x 0 01 0x 1t nan inf 1.5 .5k 1. 1.k 0.1b 1.5b 3.3k 0.7k 1K 3.35k
9223372036854775808 18446744073709551615 18446744073709551616 8E 16E 7E 64P 63T 17P""".split() + [
    "", " 1", "1 "]


def sizes():
    for size in SIZES:
        yield Scenario(f"size '{size}'", "", [["create", "-f", "qcow2", "x.q", size], ["create", "x.raw", size]])
    for size in ["1", "513", "3.3k", "0.7k"]:
        yield Scenario(f"rounded size '{size}'", "", [["create", "x.raw", size], ["info", "x.raw"]])
    yield Scenario("largest size", "", [["create", "x.raw", "9223372036854775807"]],
                   "names the limit, where QEMU passes on the system's error")
    for size in ["0x1k"]:
        yield Scenario(f"size '{size}'", "", [["create", "x.raw", size]],
                       "hexadecimal numbers with a suffix are ambiguous (0x1b) and deprecated in QEMU")


def create_backing():
    yield Scenario("create", IMAGES, lines("""
        create -f qcow2 x.q
        create -f qcow2 -b base.q x.q
        create -f qcow2 -b disk.raw x.q
        create -f qcow2 -b base.q x.q 1M
        create -f qcow2 -q -b base.q x.q 1M
        create -f qcow2 -b nowhere -F qcow2 x.q
        create -f qcow2 -b disk.raw -F qcow2 x.q
        create -f qcow2 -b base.q -F raw x.q
        create -f qcow2 -b base.q -F foo x.q
        create -f qcow2 -b orphan.q -F qcow2 x.q
        create -f qcow2 -b orphan2.q -F qcow2 x.q
        create -f qcow2 -b nowhere -F qcow2 -u x.q
        create -f qcow2 -b nowhere -F qcow2 -u x.q 1M
        create -f qcow2 -b nowhere -u x.q 1M
        create -f qcow2 -F qcow2 x.q 1M
        create -F qcow2 x.raw 1M
        create -b base.q x.raw 1M
        create -b base.q -F qcow2 x.raw 1M
        create -f foo x.q 1M
        create -f bochs x.q 1M
        create -f qcow2 nowhere/x 1M
        create -f qcow2 folder 1M
        create folder 1M
        create -f qcow2 -q x.q 1M
        create -f qcow2 -b x.q -F qcow2 x.q 1M
        create -f qcow2 -b base.q -F qcow2 x.q 2000000
        info x.q
        create -f qcow2 -b base.q -F qcow2 x.q 4G
        info x.q
        create -f qcow2 -b base.q -F qcow2 sub/y.q
        create -f qcow2 -b ../base.q -F qcow2 sub/y.q
        info sub/y.q
        create -f qcow2 -b "" x.q 4G
        create -f qcow2 -b "" -F qcow2 x.q 4G
        create -f qcow2 -o backing_file=base.q,backing_fmt=qcow2 x.q
        create -f qcow2 -o backing_fmt=qcow2 -F raw -b base.q x.q 4G
        create -f qcow2 -o preallocation=metadata -b base.q -F qcow2 x.q 1M
        create -f qcow2 -o preallocation=metadata,extended_l2=on -b base.q -F qcow2 x.q 1M
        create -f qcow2 -o preallocation=falloc -b base.q -F qcow2 x.q 1M
        create --object foo x.raw 1M
        create --object secret,id=s,data=x x.raw 1M
        create file:y.raw 1M
        create foo:y.raw 1M
        create -f qcow2 -u z.q 1M
        info z.q
    """))


def amends():
    yield Scenario("amend: the line", IMAGES, lines("""
        amend
        amend base.q
        amend -o help
        amend -f qcow2 -o help
        amend -f qcow2 -o help a b
        amend -f raw -o help
        amend -f nosuch -o help
        amend -f vdi -o help
        amend -o help base.q
        amend -o ? base.q
        amend -o help disk.raw
        amend -o help nowhere
        amend -o compat=0.10 base.q top.q
        amend -o compat=0.10 nowhere
        amend -f nosuch -o compat=0.10 base.q
        amend -f raw -o size=2M base.q
        amend -o size=2M disk.raw
        amend -o , base.q
        amend -o "" base.q
        amend -o size=2M -o , base.q
        amend -t foo -o size=2M base.q
        amend -U -o size=2M base.q
        amend --object foo -o size=2M base.q
        amend --image-opts -f qcow2 -o size=2M base.q
        amend --image-opts -o size=2M driver=qcow2,file.filename=base.q
        amend --force -o size=2M base.q
        amend -o compat=0.10 orphan.q
        amend -o compat=0.10 corrupt.q
        amend -o compat=0.10 feature.q
        amend -q -p -o size=2M base.q
        amend -p -o size=2M base.q
        amend -p -o compat=0.10 base.q"""))
    wrong = """foo=bar cluster_size=1k compat=0.42 compat= compat preallocation=metadata compression_type=zstd extended_l2=on
        encryption=on encryption=on,foo=bar encrypt.format=luks encrypt.state=active encrypt.state=x,compat=0.42 refcount_bits=7
        refcount_bits=128 refcount_bits=0 refcount_bits=x refcount_bits=-1 compat=0.10,refcount_bits=8
        compat=0.10,lazy_refcounts=on lazy_refcounts=foo size=0 size=1500 size=8E size=4E size=1023P size=16E size=-1 size=zz
        size=9223372036854775296 data_file=foo data_file= data_file_raw=on data_file_raw=off backing_file=x backing_fmt=qcow2
        backing_file= nocow=on compat=1.1,,x lazy_refcounts nolazy_refcounts refcount_bits=1 size=512k
        compat=0.10 compat=1.1""".split()
    for name in "base.q old.q modern.q external.q external-raw.q snapped.q snapped-old.q compressed.q top.q".split():
        yield Scenario(f"amend {name}", IMAGES, [
            command for option in wrong for command in (["amend", "-o", option, name], ["info", name])])
    yield Scenario("amend: widths and versions", IMAGES, [
        command for option in ("compat=0.10", "compat=0.10,refcount_bits=16", "refcount_bits=8", "lazy_refcounts=on",
                               "compat=1.1,refcount_bits=8,lazy_refcounts=on,size=3M", "compat=0.10,lazy_refcounts=on",
                               "compat=0.10,refcount_bits=16,size=2M", "compat=1.1", "size=1M", "compat=0.10,compat=1.1")
        for name in ("base.q", "snapped.q", "modern.q", "bitmaps.q")
        for command in (["amend", "-o", option, name], ["info", name])],
        "going to version 2 takes the bitmaps' clusters along")


def resizes():
    yield Scenario("resize", IMAGES, lines("""
        resize base.q 128M
        resize base.q +1M
        resize base.q -1M
        resize --shrink base.q -1M
        resize base.q 1M
        resize base.q x
        resize base.q +x
        resize base.q +0
        resize base.q ++1M
        resize base.q +-1M
        resize base.q ""
        resize --shrink base.q -100G
        resize --shrink base.q -128M
        resize base.q 0
        resize base.q 16E
        resize base.q 8E
        resize -q base.q 1M
        resize -q base.q 200M
        info base.q
        resize --preallocation=off base.q 300M
        map --output=json base.q
        resize --preallocation=full base.q +1M
        resize --preallocation=falloc base.q +1M
        resize --preallocation=metadata base.q +1M
        resize --preallocation=full --shrink base.q 1M
        resize disk.raw 512k
        resize disk.raw 2M
        resize -q disk.raw 3M
        resize -f raw disk.raw 512k
        resize -f raw --shrink disk.raw 512k
        resize -f raw --preallocation=metadata disk.raw +1M
        resize -f raw --preallocation=full disk.raw +1M
        info disk.raw
        resize nowhere 1M
        resize folder 1M
        resize feature.q 1M
        resize -f qcow2 disk.raw 1M
        resize orphan.q 2M
        resize old.q 2M
        resize snapped-old.q 2M
        resize snapped.q 65M
        resize --shrink snapped.q 1M
        resize snapped.q 3M
        resize top.q 4M
        resize top.q 0x500000
        map --output=json top.q
        info external.q
        resize external.q 2M
        map external.q
        resize modern.q 6G
        info modern.q
    """))
    yield Scenario("resize to odd sizes", IMAGES, lines("""
        resize --shrink base.q 1000
        resize base.q 3000001
    """), "sizes are rounded up to 512, as create does, instead of refused")


def snapshots():
    yield Scenario("snapshot", IMAGES, lines("""
        snapshot -c x nowhere
        snapshot -c x disk.raw
        snapshot -d x disk.raw
        snapshot -a nope snapped.q
        snapshot -d nope snapped.q
        snapshot -l snapped.q
        snapshot -a 2 snapped.q
        snapshot -U -c x snapped.q
        snapshot -d "a name that is longer than its column" snapped.q
        snapshot -l snapped.q
        info snapped.q
        snapshot -c x feature.q
        snapshot -c x short.q
        snapshot -a x old.q
    """))
    yield Scenario("snapshot with bitmaps, or without room", IMAGES, lines("""
        snapshot -c x bitmaps.q
        snapshot -a x bitmaps.q
        snapshot -d x bitmaps.q
        snapshot -c x external.q
        snapshot -a x external.q
        snapshot -d x external.q
        snapshot -c 2 snapped.q
        snapshot -d 2 snapped.q
        snapshot -c x modern.q
        snapshot -c y modern.q
        snapshot -c x dirty.q
    """))
    yield Scenario("snapshot -f", IMAGES, [["snapshot", "-f", "qcow2", "snapped.q"]], "later versions have -f")
    yield Scenario("snapshot -d ID", IMAGES, [["snapshot", "-d", "1", "snapped.q"]], "an id will do, as with -a")


PAIRS = RAW + r"""
cp disk.raw other.raw; printf x | dd of=other.raw bs=1 seek=700000 conv=notrunc status=none
truncate -s 2M long.raw; truncate -s 1000 odd.raw; : > empty.raw; head -c 1M /dev/zero > zeroes.raw; truncate -s 1M hole.raw
qemu-img convert -O qcow2 disk.raw disk.q
qemu-img convert -O qcow2 -c disk.raw packed.q
qemu-img convert -O qcow2 -S 0 disk.raw full.q
qemu-img create -q -f qcow2 -b disk.q -F qcow2 over.q
qemu-img create -q -f qcow2 -b disk.q -F qcow2 longer.q 2M
qemu-img create -q -f qcow2 -o preallocation=metadata reserved.q 1M
qemu-img create -q -f qcow2 zeroed.q 1M; qemu-io -c 'write -z 0 1M' zeroed.q
qemu-img create -q -f qcow2 kept.q 1M; qemu-io -c 'write 0 1M' -c 'write -z 0 1M' kept.q
qemu-img create -q -f qcow2 holes.q 2G; qemu-io -c 'write -z 1G 64k' holes.q
qemu-img create -q -f qcow2 nothing.q 2G
qemu-img create -q -f qcow2 -o extended_l2=on parts.q 1M; qemu-io -c 'write 190k 10k' -c 'write -z 256k 2k' parts.q
"""
COMPARED = """disk.raw other.raw long.raw odd.raw empty.raw zeroes.raw hole.raw disk.q packed.q full.q over.q longer.q
reserved.q zeroed.q kept.q holes.q nothing.q parts.q""".split()


def comparisons():
    for first in COMPARED:
        commands = [["compare", *words, first, second] for second in COMPARED for words in ([], ["-q"])]
        yield Scenario(f"compare {first}", PAIRS, commands, changes=False)
        # QEMU counts the place of a cluster as that of its unallocated subclusters, too
        commands = [["compare", "-s", first, second] for second in COMPARED if "parts.q" not in (first, second)]
        yield Scenario(f"compare -s {first}", PAIRS, commands, changes=False)
    yield Scenario("compare", PAIRS, lines("""
        compare
        compare disk.raw
        compare disk.raw disk.raw disk.raw
        compare --bad disk.raw disk.raw
        compare nowhere disk.raw
        compare disk.raw nowhere
        compare -f qcow2 disk.raw disk.q
        compare -F qcow2 disk.q disk.raw
        compare -F foo disk.q disk.raw
        compare -f raw -F raw disk.q disk.q
        compare -T foo disk.q disk.q
        compare -T none disk.q disk.q
        compare -U disk.q disk.q
        compare --object foo disk.q disk.q
        compare --image-opts -f raw disk.q disk.q
        compare --image-opts driver=raw,file.filename=disk.raw driver=qcow2,file.filename=disk.q
        compare -p hole.raw hole.raw
        compare -p hole.raw long.raw
    """), changes=False)


MEASURED = """cluster_size=512 cluster_size=4k cluster_size=2M refcount_bits=1 refcount_bits=64 extended_l2=on compat=0.10
data_file=x data_file=x,data_file_raw=on data_file_raw=on backing_file=x backing_file=x,backing_fmt=qcow2
backing_file=x,preallocation=full preallocation=metadata preallocation=falloc preallocation=full preallocation=foo
compat=0.10,refcount_bits=1 compat=foo cluster_size=3 cluster_size=x cluster_size=4M refcount_bits=3 size=3G encryption=on
lazy_refcounts=on lazy_refcounts=maybe compression_type=zstd extended_l2=on,cluster_size=4k help foo=1
refcount_bits=64,cluster_size=1k""".split()


def measurements():
    images = """disk.raw base.q top.q compressed.q old.q external.q modern.q snapped.q bitmaps.q dirty.q odd.raw empty.raw
        nowhere.q""".split()
    for name in images:
        options = ["cluster_size=64k", "cluster_size=512", "cluster_size=2M", "compat=0.10", "extended_l2=on",
                   "preallocation=full", "preallocation=metadata", "backing_file=x", "refcount_bits=64"]
        yield Scenario(f"measure {name}", IMAGES, [
            ["measure", name], ["measure", "--output=json", "-O", "qcow2", name], ["measure", "-O", "qcow2", "-U", name],
            ["measure", "-O", "qcow2", "-l", "one", name], ["measure", "-O", "foo", name],
            *(["measure", "-O", "qcow2", "-o", option, name] for option in options)], changes=False)
    for option in MEASURED:
        yield Scenario(f"measure -o {option}", "", [
            ["measure", "-O", "qcow2", "-o", option, "--size", size] for size in ("0", "1", "1G", "100000000", "7T")],
            changes=False)
    sizes_in_reach = "0 1 513 65537 1.5k 64G 1T 2P 512T 8E 7E x -1".split()
    yield Scenario("measure --size", "", [
        ["measure", *words, "--size", size] for size in sizes_in_reach
        for words in ([], ["-O", "qcow2"], ["-O", "qcow2", "-o", "cluster_size=512"], ["--output=json", "-O", "qcow2"])],
        changes=False)
    yield Scenario("measure", IMAGES, lines("""
        measure
        measure --size 2G base.q
        measure base.q a
        measure --object secret,id=sec0,data=MTIzNDU2,format=base64
        measure --image-opts
        measure -f qcow2
        measure -l snap1
        measure -o ,
        measure -l snapshot.foo=bar
        measure -l snapshot.id=1,snapshot.name=one snapped.q
        measure -l one disk.raw
        measure --output foo
        measure --size 1M -l x
        measure --size 1M -U
        measure -O bochs --size 1M
        measure -o foo=1 --size 1M
        measure -o preallocation=full --size 1M
        measure -f qcow2 disk.raw
        measure --image-opts driver=qcow2,file.filename=base.q
        measure --image-opts -f raw driver=qcow2,file.filename=base.q
    """), changes=False)
    yield Scenario("measure, wrong options", IMAGES, [["measure", "--bad"], ["measure", "-q", "base.q"]],
                   "fails, where QEMU prints its help and succeeds", changes=False)


def copies_of_blocks():
    """Each copy is read by the stock tools: its size, and where its data is."""
    for source in ("disk.raw", "base.q", "top.q", "compressed.q", "odd.raw", "empty.raw"):
        for operands in ("", "bs=3000 count=2", "bs=3000 count=3 skip=1", "bs=64k skip=3", "bs=1000 skip=700 count=900",
                         "bs=64k skip=100000", "count=0", "bs=1M"):
            commands = [["dd", *operands.split(), f"if={source}", "of=x.raw"], ["compare", "-s", "x.raw", source],
                        ["map", "--output=json", "x.raw"],
                        ["dd", "-O", "qcow2", *operands.split(), f"if={source}", "of=x.q"],
                        ["map", "--output=json", "x.q"], ["compare", "x.q", "x.raw"]]
            yield Scenario(f"dd {operands} {source}", IMAGES, commands)
    wrong = ["bs=0", "bs=-1", "bs=x", "bs=3G", "bs=1e3", "bs=", "bs=8E", "count=-1", "count=x", "count=8E", "count=", "skip=-1",
             "skip=x", "skip=8E", "skip=", "foo", "foo=bar", "conv=sparse", "extra", "-p", "-n"]
    yield Scenario("dd, wrong operands", RAW, [["dd", "if=disk.raw", "of=x.raw", word] for word in wrong])
    yield Scenario("dd", IMAGES, lines("""
        dd
        dd if=disk.raw
        dd of=x.raw
        dd if= of=x.raw
        dd if=nowhere of=x.raw
        dd if=disk.raw of=nowhere/x.raw
        dd if=disk.raw of=foo:x.raw
        dd if=disk.raw of=file:y.raw
        dd -O foo if=disk.raw of=x.raw
        dd -O bochs if=disk.raw of=x.raw
        dd -f qcow2 if=disk.raw of=x.raw
        dd -f foo if=disk.raw of=x.raw
        dd if=base.q if=disk.raw of=x.raw of=z.raw
        dd --image-opts if=driver=qcow2,file.filename=base.q of=x.raw
        dd --image-opts if=disk.raw of=x.raw
        dd --image-opts -f raw if=disk.raw of=x.raw
        dd --object foo if=disk.raw of=x.raw
        dd -U if=disk.raw of=x.raw
        info x.raw
        info z.raw
    """))


def benchmarks():
    yield Scenario("bench", IMAGES, lines("""
        bench
        bench a b
        bench --bad
        bench nowhere
        bench -c 10 disk.raw
        bench -c 0 disk.raw
        bench -c 10 -q -d 4 -s 8k -S 16k -o 4k disk.raw
        bench -c 10 -w disk.raw
        bench -c 10 -w -f raw --pattern 65 disk.raw
        bench -c 0x10 -w -f raw --pattern 0x41 -s 1000 -S 4k disk.raw
        bench -c 300 --pattern 65 -f raw disk.raw
        map --output=json disk.raw
        compare disk.raw odd.raw
        bench -c 10 -w --flush-interval 2 -f raw disk.raw
        bench -c 10 --flush-interval 2 -f raw disk.raw
        bench -c 9 -d 2 -w --flush-interval 3 -f raw disk.raw
        bench -c 9 -d 2 -w --flush-interval 3 --no-drain -f raw disk.raw
        bench --flush-interval 0 -w -c 1 -f raw disk.raw
        bench -c x disk.raw
        bench -c -1 disk.raw
        bench -c 99999999999 disk.raw
        bench -d x disk.raw
        bench -d -1 disk.raw
        bench -s 0 -c 3 disk.raw
        bench -s x disk.raw
        bench -s 4G disk.raw
        bench -s 2M -c 3 disk.raw
        bench -s 1M -c 3 disk.raw
        bench -s 700k -c 3 disk.raw
        bench -S x disk.raw
        bench -S 0 -c 3 disk.raw
        bench -S 4G disk.raw
        bench -o x disk.raw
        bench -o 2M -c 2 disk.raw
        bench -o 1M -c 2 disk.raw
        bench -o 1020k -s 8k -c 2 disk.raw
        bench --pattern x -w disk.raw
        bench --pattern 256 -w disk.raw
        bench --flush-interval x -w disk.raw
        bench --flush-interval -1 -w disk.raw
        bench -i native -c 1 disk.raw
        bench -n -c 1 disk.raw
        bench -i threads -c 1 disk.raw
        bench -i foo -c 1 disk.raw
        bench -t none -c 1 disk.raw
        bench -t foo -c 1 disk.raw
        bench -c 3 odd.raw
        bench -c 3 base.q
        bench -c 40 -s 64k -w --pattern 7 base.q
        map --output=json base.q
        compare base.q disk.raw
        check base.q
        bench -f foo -c 3 -w base.q
        bench -f qcow2 -c 3 -w disk.raw
        bench -U -c 3 -w base.q
        bench -U -c 3 base.q
        bench --image-opts -c 3 driver=qcow2,file.filename=base.q
        bench --image-opts -f raw -c 3 driver=qcow2,file.filename=base.q
    """))
CHAIN = r"""
qemu-img create -q -f qcow2 base.q 4M
qemu-img create -q -f qcow2 -b base.q -F qcow2 mid.q
qemu-img create -q -f qcow2 -b mid.q -F qcow2 top.q 5M
qemu-io -c 'write -P 1 0 64k' -c 'write -P 9 3M 64k' base.q
qemu-io -c 'write -P 2 64k 64k' mid.q
qemu-io -c 'write -P 3 128k 64k' -c 'write -z 3M 64k' -c 'write -z 2M 64k' top.q
qemu-img create -q -f qcow2 other.q 3M
qemu-io -c 'write -P 1 0 64k' -c 'write -P 7 1M 64k' other.q
truncate -s 4M raw.img
mkdir sub
qemu-img create -q -f qcow2 -b ../base.q -F qcow2 sub/top.q
qemu-img create -q -f qcow2 -o compat=0.10 old.q 1M
qemu-img snapshot -c one old.q
qemu-img create -q -f qcow2 -b old.q -F qcow2 on-old.q 2M
qemu-img create -q -f qcow2 -b nowhere.q -F qcow2 -u orphan.q 1M
qemu-img create -q -f qcow2 -o data_file=raw.data,data_file_raw=on external-raw.q 1M
qemu-img create -q -f qcow2 -o cluster_size=512 small.q 1M
"""


def commits():
    yield Scenario("commit", CHAIN, lines("""
        commit nowhere
        commit base.q
        commit raw.img
        commit -f raw top.q
        commit -f foo top.q
        commit orphan.q
        commit -b nowhere top.q
        commit -b "" top.q
        commit -b top.q top.q
        commit -b base.q sub/top.q
        commit -b ../base.q sub/top.q
        commit --image-opts -f qcow2 driver=qcow2,file.filename=top.q
        commit -d top.q
        map top.q
        commit -q -r 1G top.q
        map top.q
        info mid.q
        commit -b ./base.q mid.q
        commit --image-opts driver=qcow2,file.filename=mid.q
        info base.q
        commit -p base.q
        commit on-old.q
        info old.q
    """))
    yield Scenario("commit through the chain", CHAIN, lines("""
        commit -b base.q top.q
        map top.q
        check -q base.q
        check top.q
    """))


def rebases():
    yield Scenario("rebase", CHAIN, lines("""
        rebase -b other.q -F qcow2 nowhere
        rebase -f foo -b other.q -F qcow2 top.q
        rebase -b other.q -F foo top.q
        rebase -b nowhere -F qcow2 top.q
        rebase -b folder/nowhere -F qcow2 sub/top.q
        rebase -b base.q -F qcow2 sub/top.q
        rebase -b other.q top.q
        rebase -b nowhere top.q
        rebase -b raw.img -F qcow2 top.q
        rebase -b top.q -F qcow2 top.q
        rebase -b other.q -F qcow2 raw.img
        rebase -f raw -b other.q -F qcow2 raw.img
        rebase -u -f raw -b other.q -F qcow2 raw.img
        rebase -u -f raw -b "" raw.img
        rebase -b other.q -F qcow2 orphan.q
        rebase -u -b other.q orphan.q
        rebase -u -b other.q -F qcow2 orphan.q
        info orphan.q
        rebase -b other.q -F qcow2 top.q
        info top.q
        rebase -q -b raw.img -F raw top.q
        rebase -U -b file:raw.img -F raw top.q
        rebase --image-opts -b base.q -F qcow2 driver=qcow2,file.filename=top.q
        rebase -b "" top.q
        info top.q
        rebase -b "" top.q
        rebase -u top.q
        rebase -u -F qcow2 top.q
        rebase -u -b other.q -F qcow2 external-raw.q
        rebase -b other.q -F qcow2 external-raw.q
        rebase -b ../other.q -F qcow2 sub/top.q
        info sub/top.q
        rebase -b old.q -F qcow2 on-old.q
        check on-old.q
    """))
    yield Scenario("bitmaps of rebased and committed images", CHAIN + """
        qemu-img bitmap --add top.q b0
    """, lines("""
        rebase -b other.q -F qcow2 top.q
        info --output=json top.q
        rebase -u -b base.q -F qcow2 top.q
        info --output=json top.q
        commit -q top.q
        info --output=json top.q
    """))
    yield Scenario("rebase over zeroes", CHAIN, lines("""
        rebase -b other.q -F qcow2 top.q
        map top.q
    """), "zeroes that the new backing image lacks are recorded, not written")
    yield Scenario("rebase of a version 2 image without a backing image", CHAIN, lines("""
        rebase -b other.q -F qcow2 old.q
        map old.q
    """), "its zeroes stay zeroes, where qemu-img lets the new backing image show")
    for length in 300, 400, 1023, 1024:
        yield Scenario(f"rebase to a name of {length} bytes", CHAIN, [
            ["rebase", "-u", "-b", "n" * length, "-F", "raw", "top.q"], ["info", "top.q"],
            ["rebase", "-u", "-b", "n" * length, "-F", "raw", "small.q"], ["check", "small.q"]])


BROKEN = IMAGES + r"""
qemu-img create -q -f qcow2 broken.q 1M
for name in b0 b1 b2; do qemu-img bitmap --add -g 64k broken.q $name; done
qemu-io -c 'write 0 64k' -c abort broken.q 2>/dev/null || true
qemu-img bitmap --add broken.q b3
qemu-img bitmap --add --disable -g 1M broken.q b4
qemu-img create -q -f qcow2 longer.q 2M
qemu-img bitmap --add longer.q b0
"""


def bitmaps():
    yield Scenario("bitmap", BROKEN, lines("""
        bitmap --add base.q b0
        bitmap --add base.q b0
        bitmap --add --disable base.q b1
        bitmap --disable --add base.q b2
        bitmap --add --remove base.q b3
        bitmap --add --add base.q b4
        bitmap --add --clear --enable -g 512 --merge b0 base.q b5
        bitmap --add base.q ""
        bitmap --add nowhere b
        bitmap --add disk.raw b
        bitmap --add -f raw disk.raw b
        bitmap --clear -f raw disk.raw b
        bitmap --add old.q b
        bitmap --add short.q b
        bitmap --add orphan.q b
        bitmap --add -f foo base.q b
        bitmap --remove base.q none
        bitmap --clear base.q none
        bitmap --enable base.q none
        bitmap --disable base.q none
        bitmap --merge b0 base.q none
        bitmap --merge none base.q b0
        bitmap --merge b0 base.q b0
        info base.q
        info --output=json base.q
    """))
    yield Scenario("bitmap -b", BROKEN, lines("""
        bitmap --add base.q b0
        bitmap -b top.q --merge b0 base.q b0
        bitmap -b longer.q -F qcow2 --merge b0 base.q b0
        bitmap -b longer.q --merge none base.q b0
        bitmap -b longer.q --merge b0 base.q none
        bitmap -b nowhere --merge b0 base.q b0
        bitmap -b longer.q -F raw --merge b0 base.q b0
        bitmap -b longer.q -F foo --merge b0 base.q b0
        bitmap -b base.q --merge b0 base.q b0
        bitmap -b orphan.q --merge b0 base.q b0
        bitmap -b broken.q --merge b0 base.q b0
    """))
    sizes = "0 1 256 512 513 100k 1.5k 2G 3G 4G 1E 16E -1 foo 64kB".split()
    yield Scenario("bitmap -g", IMAGES, [["bitmap", "--add", "-g", size, "base.q", f"b{size}"] for size in sizes])
    yield Scenario("bitmap names", IMAGES, [["bitmap", "--add", "base.q", "n" * length] for length in (1, 1023, 1024)]
                   + [["bitmap", "--add", "base.q", "two words"], ["bitmap", "--add", "base.q", "-x"],
                      ["bitmap", "--add", "--", "base.q", "-x"], ["info", "base.q"]])
    yield Scenario("bitmap usage", IMAGES, lines("""
        bitmap
        bitmap base.q
        bitmap base.q b
        bitmap --add
        bitmap --add base.q
        bitmap --add base.q b c
        bitmap -g 64k
        bitmap -g 64k --clear base.q b
        bitmap -g 64k -F qcow2 --clear base.q b
        bitmap -F qcow2 --merge b base.q b
        bitmap -b top.q --add base.q b
        bitmap --merge
        bitmap --bogus base.q b
        bitmap -U --add base.q b
        bitmap --add -g
        bitmap --image-opts -f qcow2 --add base.q b
        bitmap --image-opts --add driver=qcow2,file.filename=base.q b
        bitmap --object secret,id=x,data=y --add base.q b2
        bitmap --object foo --add base.q b3
    """))
    yield Scenario("bitmaps in use", BROKEN, lines("""
        info broken.q
        info --output=json broken.q
        bitmap --enable broken.q b0
        bitmap --disable broken.q b0
        bitmap --clear broken.q b0
        bitmap --add broken.q b0
        bitmap --merge b3 broken.q b0
        bitmap --merge b1 broken.q b3
        resize broken.q 2M
        convert --bitmaps -O qcow2 broken.q new.q
        convert --bitmaps --skip-broken-bitmaps -O qcow2 broken.q new.q
        info new.q
        bitmap --remove broken.q b1
        bitmap --remove --add broken.q b0
        info broken.q
    """))
    yield Scenario("bitmaps and other commands", BROKEN, lines("""
        resize bitmaps.q 3M
        info bitmaps.q
        resize --shrink bitmaps.q 512k
        snapshot -c one bitmaps.q
        snapshot -a one bitmaps.q
        snapshot -a none bitmaps.q
        snapshot -d one bitmaps.q
        convert --bitmaps -O qcow2 bitmaps.q new.q
        info new.q
        convert --bitmaps -O qcow2 -n bitmaps.q new.q
        convert --bitmaps -O qcow2 -n bitmaps.q longer.q
        convert --bitmaps -O qcow2 -o cluster_size=512 bitmaps.q small.q
        info small.q
        convert --bitmaps -O qcow2 bitmaps.q bitmaps.q two.q
        convert --bitmaps -O raw bitmaps.q new.raw
        convert --bitmaps -O qcow2 -o compat=0.10 bitmaps.q new2.q
        convert --bitmaps -O qcow2 -f raw disk.raw new3.q
        convert --bitmaps -O qcow2 old.q new3.q
        convert --bitmaps -O qcow2 base.q new3.q
        convert --skip-broken-bitmaps -O qcow2 base.q new3.q
        convert --bitmaps --skip-broken-bitmaps -O raw broken.q new.raw
    """))


def all_scenarios():
    groups = (usage, image_names, queries, create_options, create_matrix, sizes, create_backing, resizes, amends,
              snapshots, comparisons, measurements, copies_of_blocks, benchmarks, commits, rebases, bitmaps)
    return [scenario for group in groups for scenario in group()]
