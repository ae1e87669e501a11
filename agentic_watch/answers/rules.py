"""What makes two findings the same: the rule, in SQL, and what is left of a title without its numbers and names."""

from __future__ import annotations

from agentic_watch.answers.failure_classes import normalised

_TITLE = 200

TOOL = "COALESCE(f.tool, '')"
FILE = "COALESCE(f.file, '')"
CODED = "COALESCE(NULLIF(f.rule_id, ''), NULLIF(f.code, ''), NULLIF(f.category, ''), '')"
TITLE = (
    "CASE WHEN COALESCE(NULLIF(f.rule_id, ''), NULLIF(f.code, ''), NULLIF(f.category, ''), '') <> '' THEN '' "
    f"ELSE COALESCE(substr(NULLIF(f.title, ''), 1, {_TITLE}), substr(f.message, 1, {_TITLE}), '') END"
)
"""Only where there is no code of any kind: else each line of prose would be a rule of its own."""


def rule_name(coded: str, title: str) -> str:
    """The rule's name within its tool: rule_id, else code, else category, else the normalised title."""
    return coded or normalised(title) or "(none)"
