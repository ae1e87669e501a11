"""The program imported once for many runs: each is a fork of one process, with streams and an environment of its own.

To start an interpreter and to import the program takes a run of a test longer than its work. `run` asks the server of
this test process, which ends with it; `joining` is a command that does so for whoever starts processes itself. What
stands between the start of a program and its first line is left to the tests that start it themselves.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Mapping, Sequence

if __name__ != "__main__":
    import atexit
    import subprocess

_SIZE = struct.Struct("=I")
_LATE = ("agentic_watch.mcp_server", "agentic_watch.dashboard", "agentic_watch.daemon.metrics")
"""What stands on an extra, which costs more to import than all else: there is a server with it and one without."""
_addresses: dict[bool, str] = {}


# --- who asks


def run(
    arguments: Sequence[str | bytes], directory: str, environ: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[bytes]:
    """Run the program to its end. Raises TimeoutExpired, and has killed it then."""
    words = [os.fsdecode(argument) for argument in arguments]
    pipes = [os.pipe(), os.pipe()]
    with _connected(_address(environ, late=False)) as server:
        with open(os.devnull, "rb") as nothing:
            _ask(server, [nothing.fileno(), *(write for _, write in pipes)], words, directory, environ)
        for _, write in pipes:
            os.close(write)
        pid = _number(server)
        said = _read([read for read, _ in pipes], time.monotonic() + timeout)
        if said is None:
            os.kill(pid, signal.SIGKILL)
        status = _number(server)
    if said is None:
        raise subprocess.TimeoutExpired(words, timeout)
    return subprocess.CompletedProcess(words, os.waitstatus_to_exitcode(status), *said)


def joining(environ: Mapping[str, str]) -> list[str]:
    """How a command begins that runs the program with its extras: its arguments follow. It passes no signal on."""
    return [sys.executable, "-S", "-E", __file__, "join", _address(environ, late=True)]


def _address(environ: Mapping[str, str], *, late: bool) -> str:
    """Where the server listens, which is started when it is asked for first."""
    if late not in _addresses:
        _addresses[late] = f"agentic-watch-tests-{os.urandom(8).hex()}"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"\0{_addresses[late]}")
            listener.listen(64)
            process = subprocess.Popen(
                [sys.executable, __file__, "serve", str(listener.fileno()), *(["late"] if late else [])],
                env=environ, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=[listener.fileno()], cwd="/",
            )  # fmt: skip
        atexit.register(process.communicate)  # closes its stdin, at which it ends
    return _addresses[late]


def _connected(address: str) -> socket.socket:
    server = socket.socket(socket.AF_UNIX)
    server.connect(f"\0{address}")
    return server


def _ask(
    server: socket.socket, streams: list[int], words: list[str], directory: str, environ: Mapping[str, str]
) -> None:
    request = json.dumps([words, directory, dict(environ)]).encode()
    socket.send_fds(server, [_SIZE.pack(len(request))], streams)
    server.sendall(request)


def _number(server: socket.socket) -> int:
    told = server.recv(_SIZE.size, socket.MSG_WAITALL)
    assert told, "the fork server ended: does every module of the program let itself be imported?"
    number: int = _SIZE.unpack(told)[0]
    return number


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


def _join(address: str, arguments: list[str]) -> int:
    """Be the program to whoever started this: with its streams, and its exit status in the end."""
    with _connected(address) as server:
        _ask(server, [0, 1, 2], arguments, os.getcwd(), os.environ)
        os.close(0)  # the program alone is to have them
        os.close(1)
        _number(server)
        return os.waitstatus_to_exitcode(_number(server))


# --- the server


def _import_all(*, late: bool) -> None:
    import gc
    import importlib
    import pkgutil

    import agentic_watch

    for module in pkgutil.walk_packages(agentic_watch.__path__, "agentic_watch."):
        if (late or not module.name.startswith(_LATE)) and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    gc.freeze()  # or each fork's first collection copies all of it


def _serve(listener: socket.socket) -> None:
    """Fork for each request, and return in the fork, which is all set to be the program."""
    while 0 not in select.select([listener, 0], [], [])[0]:
        asking, _ = listener.accept()
        with asking, contextlib.suppress(ChildProcessError):
            if os.fork() == 0:
                listener.close()
                _become_program(asking)
                return
            while os.waitpid(-1, os.WNOHANG)[0]:  # those of earlier requests
                pass
    listener.close()
    sys.exit(0)


def _become_program(asking: socket.socket) -> None:
    """Fork once more: one returns and is the program, the other one waits for it, tells its exit status and ends."""
    head, streams, _, _ = socket.recv_fds(asking, _SIZE.size, 3)
    (size,) = _SIZE.unpack(head)
    arguments, directory, environ = json.loads(asking.recv(size, socket.MSG_WAITALL))
    pid = os.fork()
    for number, stream in enumerate(streams):
        if not pid:
            os.dup2(stream, number)
        os.close(stream)
    if pid:
        asking.sendall(_SIZE.pack(pid))
        asking.sendall(_SIZE.pack(os.waitpid(pid, 0)[1]))
        os._exit(0)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv[1:] = arguments


if __name__ == "__main__":
    if sys.argv[1] == "join":
        sys.exit(_join(sys.argv[2], sys.argv[3:]))
    sys.path.pop(0)  # this directory
    _import_all(late="late" in sys.argv)
    _serve(socket.socket(fileno=int(sys.argv[2])))
    import runpy

    runpy.run_module("agentic_watch", run_name="__main__", alter_sys=True)
