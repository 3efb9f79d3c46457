#!/usr/bin/env python3
"""A real QEMU and qimg on the same image: neither changes what the other uses, and qimg says who uses it.

usage: locks.py QIMG
SPDX-License-Identifier: Apache-2.0
"""
import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

QIMG = os.path.abspath(sys.argv[1])
QEMU = 'qemu-system-x86_64'
ENVIRONMENT = {**os.environ, 'QIMG_COMPAT': '1'}  # it is not the overlays that a base is protected for here
WRITERS = [  # what a running guest's disk must not suffer
    ['resize', '{}', '+1M'],
    ['resize', '--shrink', '{}', '512k'],
    ['snapshot', '-c', 'more', '{}'],
    ['snapshot', '-a', 'first', '{}'],
    ['snapshot', '-d', 'first', '{}'],
    ['check', '-r', 'all', '{}'],
    ['amend', '-o', 'lazy_refcounts=on', '{}'],
    ['bitmap', '--add', '{}', 'b0'],
    ['commit', '{}'],
    ['rebase', '-u', '-b', '', '{}'],
    ['convert', '-n', '-O', 'qcow2', 'other', '{}'],
    ['convert', '-O', 'qcow2', 'other', '{}'],
    ['create', '-f', 'qcow2', '{}', '1M'],
    ['bench', '-w', '-c', '1', '{}'],
]
READERS = [['info', '{}'], ['check', '{}'], ['map', '{}'], ['snapshot', '-l', '{}'], ['compare', '{}', 'other'],
           ['convert', '-O', 'raw', '{}', 'copy'], ['measure', '-O', 'raw', '{}']]


def run(*words, status=0):
    done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False)
    assert status is None or done.returncode == status, f'{words}: {done.returncode}\n{done.stdout}{done.stderr}'
    return done


def digest(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


@contextlib.contextmanager
def guest(name, drive):
    """A QEMU that has the drive open and runs nothing."""
    words = [QEMU, '-name', f'guest={name},debug-threads=on', '-machine', 'pc,accel=tcg', '-display', 'none', '-nodefaults',
             '-S', '-drive', f'if=none,id=disk,{drive}', '-device', 'virtio-blk,drive=disk',
             '-chardev', 'socket,id=monitor,path=monitor,server=on,wait=off', '-mon', 'chardev=monitor,mode=control']
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            await_greeting(process)
            yield process
        finally:
            process.kill()
            with contextlib.suppress(FileNotFoundError):
                os.unlink('monitor')


def await_greeting(process):
    """QEMU greets on its monitor once all drives are open."""
    for _ in range(1200):
        if process.poll() is not None:
            raise SystemExit(f'QEMU ended: {process.stderr.read()}')
        with socket.socket(socket.AF_UNIX) as monitor, contextlib.suppress(OSError):
            monitor.connect('monitor')
            monitor.settimeout(60)
            if b'QMP' in monitor.recv(4096):
                return
        time.sleep(0.05)
    raise SystemExit('QEMU does not listen')


def refused(command, image, holder, lock):
    words = [word.format(image) for word in command]
    before = digest(image)
    said = run(QIMG, *words, status=2 if words[0] == 'compare' else 1).stderr
    assert f'{lock} lock' in said and f'Is another process using the image [{image}]?' in said, f'{words}: {said}'
    if holder is not None:
        assert f'process {holder.pid} (domain box): {QEMU} -name guest=box' in said, f'{words}: {said}'
    assert digest(image) == before, f'{words} changed {image}'


def test_running_guest():
    with guest('box', 'file=overlay,format=qcow2') as qemu:
        for command in WRITERS:
            refused(command, 'overlay', qemu, '"write"')
        for command in READERS:
            refused(command, 'overlay', qemu, 'shared "write"')
        # the images below are only read: others may read them, too, and nobody may change them
        for command in WRITERS:
            if command[0] not in ('commit', 'rebase'):
                refused(command, 'base', qemu, '"write"')
        run(QIMG, 'check', 'base')
        run(QIMG, 'convert', '-O', 'raw', 'base', 'copy')
        # a second overlay on the same base is nobody's business; committing it is
        run(QIMG, 'snap', 'base', 'second')
        refused(['commit', 'second'], 'base', qemu, '"write"')
        told = run(QIMG, 'info', '-U', 'overlay').stdout
        assert f'in use: read and written by process {qemu.pid} (domain box): {QEMU}' in told, told
        users = json.loads(run(QIMG, 'info', '-U', '--output=json', 'overlay').stdout)['users']
        assert [(user['pid'], user['domain'], user['writes']) for user in users] == [(qemu.pid, 'box', True)], users
        users = json.loads(run(QIMG, 'info', '-U', '--output=json', 'base').stdout)['users']
        assert [(user['pid'], user['writes']) for user in users] == [(qemu.pid, False)], users
    assert 'in use' not in run(QIMG, 'info', '-U', 'overlay').stdout
    run(QIMG, 'resize', '-q', 'overlay', '+1M')


def test_drop_in():
    """Called qemu-img, not a word more than that program says."""
    os.symlink(QIMG, 'qemu-img')
    with guest('box', 'file=overlay,format=qcow2'):
        for words in (['info', 'overlay'], ['resize', 'overlay', '+1M'], ['info', '-U', 'overlay']):
            ours, theirs = run('./qemu-img', *words, status=None), run('qemu-img', *words, status=None)
            assert (ours.returncode, ours.stderr) == (theirs.returncode, theirs.stderr), (words, ours, theirs)
            assert ours.stdout == theirs.stdout, (words, ours, theirs)


def start_of_qemu(drive):
    """What QEMU says when it cannot start."""
    done = run(QEMU, '-machine', 'none', '-display', 'none', '-nodefaults', '-drive', f'if=none,id=disk,{drive}',
               '-qmp', 'stdio', '-S', status=1)
    return done.stderr


def test_qimg_at_work():
    """While qimg changes an image QEMU does not start on it, nor on an overlay of it."""
    with subprocess.Popen([QIMG, 'bench', '-w', '-t', 'writeback', '-c', '1000000000', 'base'], env=ENVIRONMENT,
                          stdout=subprocess.DEVNULL) as writer:
        try:
            while 'in use' not in run(QIMG, 'info', '-U', 'base').stdout:
                assert writer.poll() is None, 'qimg bench ended'
                time.sleep(0.05)
            for drive in ('file=base,format=qcow2', 'file=overlay,format=qcow2', 'file=base,format=qcow2,read-only=on'):
                said = start_of_qemu(drive)
                assert 'Failed to get' in said and 'lock' in said, said
            said = run(QIMG, 'check', 'base', status=1).stderr
            assert f'process {writer.pid}: {QIMG} bench -w' in said, said
        finally:
            writer.kill()
    run(QIMG, 'check', '-q', 'overlay', status=None)
    with guest('box', 'file=overlay,format=qcow2'):
        pass


def main():
    folder = tempfile.mkdtemp(prefix='qimg-locks-')
    os.chdir(folder)
    try:
        for test in (test_running_guest, test_drop_in, test_qimg_at_work):
            for name in os.listdir('.'):
                os.unlink(name)
            run(QIMG, 'create', '-q', '-f', 'qcow2', 'base', '4M')
            run(QIMG, 'snapshot', '-c', 'first', 'base')
            run(QIMG, 'create', '-q', '-f', 'qcow2', '-b', 'base', '-F', 'qcow2', 'overlay')
            run(QIMG, 'snapshot', '-c', 'first', 'overlay')
            run(QIMG, 'create', '-q', '-f', 'qcow2', 'other', '4M')
            test()
            print(f'ok   {test.__name__}')
    finally:
        os.chdir('/')
        shutil.rmtree(folder)


if __name__ == '__main__':
    main()
