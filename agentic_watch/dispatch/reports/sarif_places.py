"""Where a SARIF result is: its file relative to the clone, its line and column."""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import unquote

from agentic_watch.dispatch.reports.clone_paths import Clone
from agentic_watch.dispatch.reports.sarif_values import item_at, number_of, object_of, objects_of, text_of

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_DEEPEST = 10
"""A base may lie below another one, and that below itself when somebody wrote it so."""


class Places:
    """The places of a run's results: what its artifacts and base URIs say (sarif-v2.1.0, 3.4.4, 3.14.14)."""

    def __init__(self, run: dict[str, Any], clone: Clone) -> None:
        self._artifacts = objects_of(run.get("artifacts"))
        self._bases = object_of(run.get("originalUriBaseIds"))
        self._clone = clone

    def of(self, result: dict[str, Any]) -> dict[str, Any]:
        """The keys `file`, `line` and `column` of a finding."""
        first = next(iter(objects_of(result.get("locations"))), {})
        location = object_of(first.get("physicalLocation"))
        region = object_of(location.get("region"))
        return {
            "file": self._file(object_of(location.get("artifactLocation"))),
            "line": number_of(region.get("startLine")),
            "column": number_of(region.get("startColumn")),
        }

    def _file(self, location: dict[str, Any]) -> str:
        if not text_of(location.get("uri")):
            location = object_of(item_at(self._artifacts, location.get("index"), {}).get("location"))
        uri = text_of(location.get("uri"))
        whole = self._whole(location)
        if whole != uri and (inside := self._clone.below(_path(whole))):
            return inside
        # A base that lies elsewhere is a directory of another host: the path below it is the same on each.
        path = _path(uri)
        return path if _SCHEME.match(path) else self._clone.relative(path)

    def _whole(self, location: dict[str, Any]) -> str:
        """The URI with all of its bases before it."""
        uri = text_of(location.get("uri"))
        for _ in range(_DEEPEST):
            base = text_of(location.get("uriBaseId"))
            if not base or _SCHEME.match(uri):
                break
            location = object_of(self._bases.get(base))
            uri = os.path.join(text_of(location.get("uri")), uri)
        return uri


def _path(uri: str) -> str:
    """The path of a file URI or of a relative reference; another URI as it is."""
    if uri[:5].lower() == "file:":
        uri = re.sub(r"^//[^/]*", "", uri[5:])
    elif _SCHEME.match(uri):
        return uri
    return unquote(uri)
