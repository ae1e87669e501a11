"""Finds the workspaces below a root and whether they changed, by descriptor, without reading a file."""

from agentic_watch.scan.walk import (
    LeftAlone,
    RootUnavailable,
    ScanError,
    is_marked,
    scan,
    scan_below,
    scan_in_steps,
    sight,
)

__all__ = [
    "LeftAlone",
    "RootUnavailable",
    "ScanError",
    "is_marked",
    "scan",
    "scan_below",
    "scan_in_steps",
    "sight",
]
