"""A small FUSE server: shows a directory at another place, where no event tells of what is changed behind it.

`FuseMirror` runs it as a process, so that SIGSTOP makes it a file system that does not answer. The messages are those
of fuse(4), <linux/fuse.h>; only what the program and its tests use is served.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

_MNT_DETACH = 2
_LIBC = ctypes.CDLL(None, use_errno=True)
_HEADER = struct.Struct("IIQQIIIHH")
_ATTRIBUTES = struct.Struct("QQQQQQIIIIIIIIII")
_NO_REPLY = {2, 36, 42}  # FORGET, INTERRUPT, BATCH_FORGET
_BUFFER = 1 << 20 | 1 << 12
_QUIET_SECONDS = 0.15
"""Longer than `_NEWEST_SECONDS`, shorter than `ASK_OFTEN_SECONDS` (watch/hanging_mounts)."""


def is_usable() -> bool:
    """Whether this process may mount with /dev/fuse."""
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError:
        return False
    return os.geteuid() == 0


needs_fuse = pytest.mark.skipif(not is_usable(), reason="only root can mount with /dev/fuse")


class FuseMirror:
    """`behind`, seen at `path`, from `with` on. `hang` stops it from answering, `answer` has it go on."""

    def __init__(self, behind: Path, path: Path) -> None:
        self.behind, self.path = behind, path
        self._process: subprocess.Popen[bytes] | None = None
        self._server = 0

    def __enter__(self) -> FuseMirror:
        self.behind.mkdir(parents=True, exist_ok=True)
        self.path.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, __file__, str(self.behind), str(self.path)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C ends the tests, and they end it
        )
        assert self._process.stdout is not None
        self._server = int(self._process.stdout.readline())
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.communicate()

    def hang(self) -> None:
        """From now on nobody who asks comes back.

        It stops between two requests: whose request is taken and not answered could not even be killed. And it stops
        when nobody has asked for longer than the daemon trusts an answer, so that only who asks whether it still
        answers is caught: a mount that hangs in the middle of its work would catch the daemon's loop, too.
        """
        os.kill(self._server, signal.SIGUSR1)
        state = Path(f"/proc/{self._server}/stat")
        while state.read_text().rpartition(") ")[2][0] != "T":
            time.sleep(0.001)

    def answer(self) -> None:
        """All who asked get their answers."""
        os.kill(self._server, signal.SIGCONT)


class _Mirror:
    """Answers requests about `top`; a node is a path, a handle is a descriptor."""

    def __init__(self, top: str) -> None:
        self._paths = {1: top}
        self._nodes = {top: 1}
        self._operations: dict[int, Callable[[int, bytes], bytes]] = {
            1: lambda node, data: self._entry(self._below(node, data)),
            3: lambda node, _: self._attributes(self._paths[node]),
            4: self._set_attributes,
            9: self._make_directory,
            10: lambda node, data: self._empty(os.unlink(self._below(node, data))),
            11: lambda node, data: self._empty(os.rmdir(self._below(node, data))),
            12: lambda node, data: self._rename(node, data, 8),
            14: self._open,
            15: self._read,
            16: self._write,
            17: lambda *_: struct.pack("QQQQQIIII24x", 1 << 20, 1 << 19, 1 << 19, 1 << 20, 1 << 19, 4096, 255, 4096, 0),
            18: self._close,
            20: self._sync,
            25: lambda *_: b"",
            26: lambda *_: struct.pack("IIIIHHIIHHI28x", 7, 31, 1 << 17, 0, 16, 12, 1 << 17, 1, 32, 0, 0),
            27: self._open,
            28: self._list,
            29: self._close,
            30: self._sync,
            34: lambda *_: b"",
            35: self._create,
            45: lambda node, data: self._rename(node, data, 16),
        }

    def answer(self, request: bytes) -> bytes | None:
        """The reply to a request; None where there is none."""
        _, operation, unique, node, *_ = _HEADER.unpack_from(request)
        if operation in _NO_REPLY:
            return None
        try:
            reply, number = self._operations[operation](node, request[_HEADER.size :]), 0
        except KeyError:
            reply, number = b"", errno.ENOSYS
        except OSError as error:
            reply, number = b"", error.errno or errno.EIO
        return struct.pack("IiQ", 16 + len(reply), -number, unique) + reply

    def _below(self, node: int, name: bytes) -> str:
        return os.path.join(self._paths[node], os.fsdecode(name.split(b"\0")[0]))

    def _empty(self, _: None) -> bytes:
        return b""

    def _numbers(self, path: str) -> bytes:
        info = os.lstat(path)
        times = info.st_atime_ns, info.st_mtime_ns, info.st_ctime_ns
        seconds, rest = [one // 10**9 for one in times], [one % 10**9 for one in times]
        owner = info.st_mode, info.st_nlink, info.st_uid, info.st_gid
        return _ATTRIBUTES.pack(info.st_ino, info.st_size, info.st_blocks, *seconds, *rest, *owner, 0, 4096, 0)

    def _attributes(self, path: str) -> bytes:
        return struct.pack("QII", 0, 0, 0) + self._numbers(path)

    def _entry(self, path: str) -> bytes:
        numbers = self._numbers(path)
        node = self._nodes.setdefault(path, len(self._paths) + 1)
        self._paths[node] = path
        return struct.pack("QQQQII", node, 0, 0, 0, 0, 0) + numbers

    def _set_attributes(self, node: int, data: bytes) -> bytes:
        valid, _, _, size, _, _, _, _, _, _, _, _, mode, _, user, group = struct.unpack_from("IIQQQQQQIIIIIIII", data)
        path = self._paths[node]
        if valid & 1:
            os.chmod(path, mode & 0o7777)
        if valid & 6:
            os.chown(path, user if valid & 2 else -1, group if valid & 4 else -1)
        if valid & 8:
            os.truncate(path, size)
        return self._attributes(path)

    def _make_directory(self, node: int, data: bytes) -> bytes:
        path = self._below(node, data[8:])
        os.mkdir(path, 0o755)
        return self._entry(path)

    def _rename(self, node: int, data: bytes, header: int) -> bytes:
        (target,) = struct.unpack_from("Q", data)
        old, new = data[header:].split(b"\0")[:2]
        source, goal = self._below(node, old), self._below(target, new)
        os.rename(source, goal)
        moved = self._nodes.pop(source, None)
        if moved is not None:
            self._nodes[goal], self._paths[moved] = moved, goal
        return b""

    def _open(self, node: int, data: bytes) -> bytes:
        flags = struct.unpack_from("I", data)[0] & ~(os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW)
        return struct.pack("QII", os.open(self._paths[node], flags), 1, 0)

    def _create(self, node: int, data: bytes) -> bytes:
        flags, mode = struct.unpack_from("II", data)
        path = self._below(node, data[16:])
        handle = os.open(path, flags & ~os.O_NOFOLLOW, mode)
        return self._entry(path) + struct.pack("QII", handle, 1, 0)

    def _read(self, _node: int, data: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("QQI", data)
        return os.pread(handle, size, offset)

    def _write(self, _node: int, data: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("QQI", data)
        return struct.pack("II", os.pwrite(handle, data[40 : 40 + size], offset), 0)

    def _close(self, _node: int, data: bytes) -> bytes:
        os.close(struct.unpack_from("Q", data)[0])
        return b""

    def _sync(self, _node: int, data: bytes) -> bytes:
        os.fsync(struct.unpack_from("Q", data)[0])
        return b""

    def _list(self, node: int, data: bytes) -> bytes:
        _, offset, size = struct.unpack_from("QQI", data)
        reply = b""
        with os.scandir(self._paths[node]) as entries:
            found = sorted((os.fsencode(one.name), one.inode(), one.is_dir(follow_symlinks=False)) for one in entries)
        for number, (name, inode, is_directory) in enumerate(found[offset:], offset + 1):
            entry = struct.pack("QQII", inode, number, len(name), 4 if is_directory else 8) + name
            entry += b"\0" * (-len(entry) % 8)
            if len(reply) + len(entry) > size:
                break
            reply += entry
        return reply


def _mount(behind: str, path: str) -> None:
    """Serve until standard input ends, with the test or with its process, however that ends; then unmount."""
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
    if _LIBC.mount(b"mirror", os.fsencode(path), b"fuse", 0, options.encode()):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
    server = os.fork()
    if not server:
        _serve(device, behind)
        os._exit(0)
    os.close(device)
    sys.stdin.read()
    os.kill(server, signal.SIGKILL)  # which ends the waiting of all who asked
    os.waitpid(server, 0)
    _LIBC.umount2(os.fsencode(path), _MNT_DETACH)


def _serve(device: int, behind: str) -> None:
    asked, ask = os.pipe()
    signal.signal(signal.SIGUSR1, lambda *_: os.write(ask, b"."))
    print(os.getpid(), flush=True)
    mirror = _Mirror(behind)
    is_to_hang = False
    while True:
        try:
            ready, _, _ = select.select([device, asked], [], [], _QUIET_SECONDS if is_to_hang else None)
            if not ready:
                is_to_hang = False
                os.kill(os.getpid(), signal.SIGSTOP)
            if asked in ready:
                is_to_hang = bool(os.read(asked, 1))
            if device in ready:
                reply = mirror.answer(os.read(device, _BUFFER))
                if reply is not None:
                    os.write(device, reply)
        except OSError as error:
            if error.errno == errno.ENODEV:  # unmounted
                return
            if error.errno not in (errno.EINTR, errno.ENOENT):  # ENOENT: who asked has gone
                raise


if __name__ == "__main__":
    _mount(*sys.argv[1:])
