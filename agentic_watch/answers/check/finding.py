"""What a check says: well, not well, or not to be known, in one line with cause and next step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from agentic_watch.config import Config
from agentic_watch.service.service_user import Account


@dataclass(frozen=True, slots=True)
class Finding:
    """`ok`: True, all is well; False, an operator must act, and `next_step` says how; None, it cannot be known.

    `text` is one line that begins with a path or a name. `root` and `workspace` when it is about one; `repaired`
    says that it was so and is no more. `missing_line` is the identity (`updated_utc`, runs) of a row without its line.
    """

    check: str
    ok: bool | None
    text: str
    next_step: str = ""
    root: str = ""
    workspace: str = ""
    repaired: bool = False
    missing_line: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """What is looked at: a configuration, the user that works with it, and the time (seconds since the epoch).

    `installed`: the system's units are in place for this history. The configuration's roots are those that answer;
    `silent` are the keys of the others, with what does not answer.
    """

    config: Config
    account: Account
    installed: bool
    now: float
    silent: Mapping[str, str] = field(default_factory=dict)

    @property
    def patience(self) -> float:
        """Seconds in which the daemon, when all is well, has committed what is finished."""
        return 5 * self.config.settle_seconds + self.config.reconcile_seconds


Check = Callable[[Subject], Iterable[Finding]]
"""One thing that is checked. It changes nothing; a history that this program may not touch ends it (HistoryRefused)."""


def checked(subject: Subject, checks: Iterable[Check]) -> Iterator[Finding]:
    """What each of the checks finds, as it comes."""
    for check in checks:
        yield from check(subject)


def is_well(findings: Iterable[Finding]) -> bool:
    """Whether no operator is needed."""
    return all(finding.ok is not False or finding.repaired for finding in findings)
