"""The program imported once for many runs: each is a fork of one process, with streams and an environment of its own.

To start an interpreter and to import the program takes a run of a test longer than its work. `python fork_server.py FD`
is the server; `run` asks that of this process, which ends with it. What stands between the start of a program and its
first line is left to the tests that start it themselves.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence

import agentic_watch

_SIZE = struct.Struct("=I")
_LATE = ("agentic_watch.mcp_server", "agentic_watch.dashboard", "agentic_watch.daemon.exposition")
"""What stands on an extra, which costs more to import than all else."""
_turn = threading.Lock()
_servers: list[socket.socket] = []


def run(
    arguments: Sequence[str | bytes], directory: str, environ: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[bytes] | None:
    """Run the program to its end; None while another thread does so. Raises TimeoutExpired, and has killed it then."""
    if not _turn.acquire(blocking=False):
        return None
    try:
        return _run([os.fsdecode(argument) for argument in arguments], directory, environ, timeout)
    finally:
        _turn.release()


def _run(
    arguments: list[str], directory: str, environ: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[bytes]:
    server = _started(environ)
    request = json.dumps([arguments, directory, dict(environ)]).encode()
    pipes = [os.pipe(), os.pipe()]
    with open(os.devnull, "rb") as nothing:
        socket.send_fds(server, [_SIZE.pack(len(request))], [nothing.fileno(), *(write for _, write in pipes)])
    for _, write in pipes:
        os.close(write)
    server.sendall(request)
    told = server.recv(_SIZE.size, socket.MSG_WAITALL)
    assert told, "the fork server ended: does every module of the program let itself be imported?"
    (pid,) = _SIZE.unpack(told)
    said = _read([read for read, _ in pipes], time.monotonic() + timeout)
    if said is None:
        os.kill(pid, signal.SIGKILL)
    (status,) = _SIZE.unpack(server.recv(_SIZE.size, socket.MSG_WAITALL))
    if said is None:
        raise subprocess.TimeoutExpired(arguments, timeout)
    return subprocess.CompletedProcess(arguments, os.waitstatus_to_exitcode(status), *said)


def _read(descriptors: list[int], deadline: float) -> list[bytes] | None:
    """Everything that comes out of the pipes, which are closed then; None when that did not end in time."""
    said: dict[int, list[bytes]] = {descriptor: [] for descriptor in descriptors}
    waiting = set(descriptors)
    try:
        while waiting and (left := deadline - time.monotonic()) > 0:
            for descriptor in select.select(list(waiting), [], [], left)[0]:
                if data := os.read(descriptor, 1 << 16):
                    said[descriptor].append(data)
                else:
                    waiting.discard(descriptor)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    return None if waiting else [b"".join(parts) for parts in said.values()]


def _started(environ: Mapping[str, str]) -> socket.socket:
    if not _servers:
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())], env=environ, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=[theirs.fileno()], cwd="/",
            )  # fmt: skip
        atexit.register(process.wait)
        atexit.register(ours.close)
        _servers.append(ours)
    return _servers[0]


def _serve(server: socket.socket) -> None:
    """Fork for each request, and return in the fork, which is all set to be the program."""
    while True:
        head, descriptors, _, _ = socket.recv_fds(server, _SIZE.size, 3)
        if not head:
            sys.exit(0)
        (size,) = _SIZE.unpack(head)
        request = server.recv(size, socket.MSG_WAITALL)
        if pid := os.fork():
            for descriptor in descriptors:
                os.close(descriptor)
            server.sendall(_SIZE.pack(pid))
            _, status = os.waitpid(pid, 0)
            server.sendall(_SIZE.pack(status))
            continue
        server.close()
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
            os.close(descriptor)
        arguments, directory, environ = json.loads(request)
        os.chdir(directory)
        os.environ.clear()
        os.environ.update(environ)
        sys.argv[1:] = arguments
        return


if __name__ == "__main__":
    sys.path.pop(0)  # this directory
    for module in pkgutil.walk_packages(agentic_watch.__path__, "agentic_watch."):
        if not module.name.startswith(_LATE) and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    gc.freeze()  # or each fork's first collection copies all of it
    _serve(socket.socket(fileno=int(sys.argv[1])))
    runpy.run_module("agentic_watch", run_name="__main__", alter_sys=True)
