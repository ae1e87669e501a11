"""Records what agents do, for dispatchers. The only room that writes a status file.

    from agentic_watch.dispatch import End, Work, begin, finish

    run = begin("/srv/agents/workspace", Work(task="Fix the tests", agent="claude:opus", directory="."))
    ...                                             # start the agent, wait for it
    finish(run, End("completed", pr_url="https://…"))

or, when one block of Python is the whole of it:

    with dispatching("/srv/agents/workspace", Work(task="Fix the tests")) as run:
        ...                                         # completed at the end; failed, with the cause, when it raises

`begin` and `finish` may be called twice and from several processes. What they write is on disk when they return;
journal, marker and history are written by the daemon or `agentic-watch --once`, never from here.
"""

from .begin_and_finish import begin, dispatching, finish
from .run_types import DispatchError, End, Overtaken, Run, Uncommitted, Work

__all__ = ["DispatchError", "End", "Overtaken", "Run", "Uncommitted", "Work", "begin", "dispatching", "finish"]
