"""What did the kernel say? The only room that imports watchdog.

Events are hints: what comes out of here is "look at this workspace" or "look at this whole root".
"""

from agentic_watch.watch.emitter import Hint, Hints
from agentic_watch.watch.watcher import Watcher

__all__ = ["Hint", "Hints", "Watcher"]
