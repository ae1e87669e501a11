"""What is there? Finds workspaces below a root, by descriptor, without reading a file."""

from agentic_watch.scan.look import is_marked, sight
from agentic_watch.scan.walk import LeftAlone, RootUnavailable, Trouble, scan, scan_below, scan_in_steps

__all__ = [
    "LeftAlone",
    "RootUnavailable",
    "Trouble",
    "is_marked",
    "scan",
    "scan_below",
    "scan_in_steps",
    "sight",
]
