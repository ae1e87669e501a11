"""`agentic-watch check`: problems on this host, and how to fix them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import click

from agentic_watch.answers.answer_shape import SCHEMA
from agentic_watch.answers.check.check_result import Check, CheckResult, checked, is_well, subject
from agentic_watch.cli import messages
from agentic_watch.cli.exit_status import EXIT_FAILED
from agentic_watch.cli.global_options import State
from agentic_watch.cli.output import clean, print_json
from agentic_watch.config import ConfigError, NoRootsError
from agentic_watch.history import HistoryRefused

_WORDS = {True: "ok", False: "problem", None: "unknown"}
_STATES = {True: (0, "OK"), False: (2, "CRITICAL"), None: (3, "UNKNOWN")}
_SEVERITIES = (False, None, True)


@click.command("check")
@click.option(
    "--quick", is_flag=True, help="Fast probe for monitoring (under 0.3 s): daemon, ownership, roots, waiting."
)
@click.option("--fleet", is_flag=True, help="Only compare each [[push]] target with the history, day by day.")
@click.option("--repair", is_flag=True, help="Rebuild missing records from existing ones; fix file ownership.")
@click.option("--nagios", is_flag=True, help="Monitoring plugin: print the worst line first; exit with 0, 2 or 3.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def command(state: State, quick: bool, fleet: bool, repair: bool, nagios: bool, as_json: bool) -> None:
    """Check daemon, history and records; report each problem with its fix.

    Each line is ok, problem or unknown, and names the check; a problem names its cause and the next step. What this
    user may not read is unknown, which does not fail the check; --nagios exits with 3 then. -q prints problems and
    unknowns only. Changes nothing without --repair, and never deletes a record.

    \b
    Examples:
      agentic-watch check --quick
      agentic-watch check --repair --json
    """
    if quick and (repair or fleet):
        raise click.UsageError("--quick excludes --repair and --fleet, which take longer")
    if nagios and (repair or as_json):
        raise click.UsageError("--nagios excludes --repair and --json")
    # Warnings of other parts of the program are reported as results instead.
    logging.disable(logging.WARNING)
    checks = _checks(quick=quick, fleet=fleet)
    if nagios:
        click.get_current_context().exit(_as_plugin(state, checks))
    if not is_well(_answer(state, checks, repair=repair, as_json=as_json)):
        click.get_current_context().exit(EXIT_FAILED)


def _answer(state: State, checks: Sequence[Check], *, repair: bool, as_json: bool) -> list[CheckResult]:
    """Run the checks and print the results, line by line as they arrive if possible."""
    about = subject(state.config())
    with_ok = state.verbosity >= 0
    if not (as_json or repair):
        findings = []
        for finding in checked(about, checks):
            findings.append(finding)
            print_findings([finding], with_ok=with_ok)
        return findings
    findings = list(checked(about, checks))
    if repair:
        from agentic_watch.answers.check.check_and_repair import repair as mend

        findings = mend(about, checks, findings)
    if as_json:
        print_json(document(findings))
    else:
        print_findings(findings, with_ok=with_ok)
    return findings


def _as_plugin(state: State, checks: Sequence[Check]) -> int:
    """Print the results for Nagios, Icinga and similar monitoring; returns the exit status."""
    try:
        findings = list(checked(subject(state.config()), checks))
    except (ConfigError, NoRootsError, HistoryRefused) as error:
        findings = [CheckResult("configuration", None, " ".join(str(error).split("\n")))]
    worst = sorted(findings, key=lambda finding: _SEVERITIES.index(finding.ok))
    for finding in worst:
        # Text after a bar would be parsed as performance data.
        click.echo(clean(f"{_STATES[finding.ok][1]}: {_line(finding)}").replace("|", "/"))
    return _STATES[worst[0].ok][0]


def _checks(*, quick: bool, fleet: bool) -> Sequence[Check]:
    if fleet:
        from agentic_watch.answers.check import fleet_check

        return (fleet_check.fleet,)
    if quick:
        from agentic_watch.answers.check.quick_check import QUICK

        return QUICK
    from agentic_watch.answers.check.check_and_repair import ALL

    return ALL


def print_findings(findings: Iterable[CheckResult], *, with_ok: bool) -> None:
    """Print one line per result to stdout."""
    for finding in findings:
        if finding.ok and not with_ok:
            continue
        word = "repaired" if finding.repaired else _WORDS[finding.ok]
        click.echo(clean(f"{word:<8} {_line(finding)}"))


def _line(finding: CheckResult) -> str:
    step = f"; next: {finding.next_step}" if finding.next_step and not finding.repaired else ""
    return f"{finding.check}: {finding.text}{step}"


def document(findings: list[CheckResult]) -> dict[str, Any]:
    """The JSON: `ok`, each check by name (null: unknown), and the problems."""
    by_check: dict[str, bool | None] = {}
    for finding in findings:
        before = by_check.get(finding.check, True)
        now = True if finding.repaired else finding.ok
        by_check[finding.check] = False if False in (before, now) else None if None in (before, now) else True
    return {
        "schema": SCHEMA,
        "ok": is_well(findings),
        "checks": by_check,
        "rows": [_item(finding) for finding in findings if finding.ok is not True],
    }


def _item(finding: CheckResult) -> dict[str, Any]:
    return {
        "check": finding.check,
        "ok": finding.ok,
        "root": clean(finding.root) or None,
        "workspace": clean(finding.workspace) or None,
        "error": clean(finding.text),
        "next": finding.next_step or None,
        "repaired": finding.repaired,
    }


def say_findings(findings: Iterable[CheckResult]) -> None:
    """Print the problems to stderr, for another command."""
    for finding in findings:
        if finding.ok is not True:
            level = messages.WARNING if finding.ok is False else messages.INFO
            messages.tell(level, clean(f"check: {_WORDS[finding.ok]}: {_line(finding)}"))
