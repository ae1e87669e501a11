"""Print an export with its dates shifted so that its newest dispatch ends now: `until_now.py past.jsonl | … import -`.

An export names each commit by an id made of its root, workspace, time and run, so a shifted line gets a new one.
"""

from __future__ import annotations

import hashlib
import json
import sys
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

TIMES = ("started_at", "updated_at", "committed_at")


def shifted(record: dict[str, Any], by: timedelta) -> dict[str, Any]:
    """The same dispatch at another time."""
    moved = {name: text(moment(record[name]) + by) for name in TIMES}
    updated = f"{moved['updated_at'][:19]}.000000000Z"
    identity = "\0".join((record["root"], record["workspace"], updated, str(record["runs"])))
    commit_id = str(uuid.UUID(bytes=hashlib.sha256(identity.encode()).digest()[:16]))
    return {**record, **moved, "commit_id": commit_id}


def moment(text: str) -> datetime:
    """RFC 3339, in whole seconds."""
    return datetime.fromisoformat(text).astimezone(UTC).replace(microsecond=0)


def text(at: datetime) -> str:
    """RFC 3339 in UTC."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def main() -> None:
    """Read the file that is named, print it anew."""
    with open(sys.argv[1], encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    newest = max(moment(record["updated_at"]) for record in records)
    by = datetime.now(UTC).replace(microsecond=0) - newest
    for record in records:
        print(json.dumps(shifted(record, by), sort_keys=True, separators=(",", ":")))


if __name__ == "__main__":
    main()
