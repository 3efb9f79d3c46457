"""File systems with reflinks, on loop devices, as long as the benchmark runs. Needs root.

SPDX-License-Identifier: Apache-2.0
"""
import contextlib
import os
import subprocess

MAKERS = {'xfs': ['mkfs.xfs', '-q', '-f', '-m', 'reflink=1'], 'btrfs': ['mkfs.btrfs', '-q', '-f']}


@contextlib.contextmanager
def reflink_systems(folder, size):
    """{name: folder} of each kind; {} without root. `size`: of each, in bytes; the files below are sparse."""
    if os.geteuid() != 0:
        print('not root: rows on XFS and btrfs are left out')
        yield {}
        return
    with contextlib.ExitStack() as stack:
        found = {}
        for name, maker in MAKERS.items():
            image, place = (os.path.join(folder, name + suffix) for suffix in ('.img', ''))
            with open(image, 'wb') as file:
                file.truncate(size)
            stack.callback(os.remove, image)
            subprocess.run([*maker, image], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            os.makedirs(place, exist_ok=True)
            stack.callback(os.rmdir, place)
            subprocess.run(['mount', '-o', 'loop', image, place], check=True)
            stack.callback(subprocess.run, ['umount', place], check=True)
            found[name] = place
        yield found


@contextlib.contextmanager
def none():
    """When no case needs them."""
    yield {}
