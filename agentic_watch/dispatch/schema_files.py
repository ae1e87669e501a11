"""The JSON Schemas of the files that a dispatcher writes, as they are shipped with the package."""

from __future__ import annotations

import os
from typing import Literal

Kind = Literal["status", "report"]


def path_of(kind: Kind) -> str:
    """The schema's file: what to name to somebody who wrote a status or a report wrong."""
    return os.path.join(os.path.dirname(__file__), "schemas", f"{kind}.schema.json")


def text_of(kind: Kind) -> str:
    """The schema, one JSON document (JSON Schema 2020-12)."""
    with open(path_of(kind), encoding="utf-8") as file:
        return file.read()
