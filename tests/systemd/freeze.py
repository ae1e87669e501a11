"""Freeze the thread of a process that waits in poll(2), by ptrace(2): all others go on. Run as root: PID.

Ends when the process does.
"""

import ctypes
import os
import sys

PTRACE_ATTACH = 16
WALL = 0x40000000  # __WALL: threads, too


def waits_in(task: str) -> str:
    """The function of the kernel in which a thread waits; "" when it has ended meanwhile."""
    try:
        return open(f"{task}/wchan").read()
    except OSError:
        return ""


def polling_thread(pid: int) -> int:
    """The one thread that waits in poll, as soon as it does."""
    tasks = f"/proc/{pid}/task"
    while True:
        waiting = [task for task in os.listdir(tasks) if "poll" in waits_in(f"{tasks}/{task}")]
        if len(waiting) == 1:
            return int(waiting[0])


def main() -> None:
    """Freeze, say so, and reap the thread when it is killed."""
    libc = ctypes.CDLL(None, use_errno=True)
    thread = polling_thread(int(sys.argv[1]))
    if libc.ptrace(PTRACE_ATTACH, thread, None, None):
        raise OSError(ctypes.get_errno(), "ptrace")
    os.waitpid(thread, WALL)
    print(f"frozen: {thread}", flush=True)
    while os.WIFSTOPPED(os.waitpid(thread, WALL)[1]):
        pass


main()
