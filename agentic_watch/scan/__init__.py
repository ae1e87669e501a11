"""What is there? Finds workspaces below a root, by descriptor, without reading a file."""

from agentic_watch.scan.look import is_marked, sight
from agentic_watch.scan.walk import RootUnavailable, Trouble, scan, scan_in_steps

__all__ = ["RootUnavailable", "Trouble", "is_marked", "scan", "scan_in_steps", "sight"]
