"""The archives that `prune` leaves beside the history: which commits do they hold?"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
from collections.abc import Collection

from agentic_watch.workspace import instant

_ID = re.compile(rb'"commit_id":"([0-9a-f-]{36})"')


def default_path(history: str) -> str:
    """Where an archive goes that is made now."""
    return f"{history}.pruned-{instant.stamp()}.jsonl"


def in_no_archive(history: str, commit_ids: Collection[str]) -> list[str]:
    """Those that no archive beside the history holds; one that cannot be read holds none."""
    left = dict.fromkeys(commit_ids)
    for path in filter(os.path.isfile, sorted(glob.glob(f"{glob.escape(history)}.pruned-*.jsonl"))):
        with contextlib.suppress(OSError), open(path, "rb") as file:
            for line in file:
                # A report may hold such a key, too.
                if any(found.decode() in left for found in _ID.findall(line)):
                    with contextlib.suppress(ValueError, KeyError, TypeError):
                        left.pop(json.loads(line)["commit_id"], None)
    return list(left)
