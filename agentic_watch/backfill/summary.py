"""What a pass did: the counts that `--once` prints, and each thing that failed by name."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Failure:
    """One thing that failed: a workspace, a directory, a root ("" as workspace) or the history (both "").

    `lies_in_workspace` as in Outcome: nothing on the host is wrong.
    """

    root: str
    workspace: str
    error: str
    lies_in_workspace: bool = False


@dataclass(frozen=True, slots=True)
class WouldCommit:
    """A workspace that a dry run would commit, and what its status says."""

    root: str
    workspace: str
    status: str
    runs: int


@dataclass(slots=True)
class Summary:
    """`scanned` counts workspaces, `seconds` is wall time.

    `older` are the commit ids of journal lines that the history lacks and that are as old as what was pruned: they stay
    out.
    `interrupted`: the pass was ended before it had seen all. `would_commit` is filled by a dry run.
    """

    scanned: int = 0
    committed: int = 0
    skipped: int = 0
    unfinished: int = 0
    failed: int = 0
    recovered_rows: int = 0
    seconds: float = 0.0
    failures: list[Failure] = field(default_factory=list)
    older: list[str] = field(default_factory=list)
    interrupted: bool = False
    would_commit: list[WouldCommit] = field(default_factory=list)

    def fail(self, failure: Failure) -> None:
        """Count and name a failure."""
        self.failed += 1
        self.failures.append(failure)

    def add(self, other: Summary) -> None:
        """Take in what another process did of the same pass, but for its time; what both met failed once."""
        known = set(self.failures)
        self.scanned += other.scanned
        self.committed += other.committed
        self.skipped += other.skipped
        self.unfinished += other.unfinished
        self.recovered_rows += other.recovered_rows
        self.older += other.older
        self.interrupted |= other.interrupted
        self.would_commit += other.would_commit
        for failure in other.failures:
            if failure not in known:
                self.fail(failure)
