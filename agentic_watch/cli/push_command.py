"""`agentic-watch push`: send the history to the targets of the configuration."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from agentic_watch.answers.answer_shape import SCHEMA
from agentic_watch.cli import answer_options, logs, messages
from agentic_watch.cli.exit_status import EXIT_FAILED, Misconfigured, Refused
from agentic_watch.cli.global_options import State
from agentic_watch.cli.output import clean, print_json
from agentic_watch.config import Config, Hook, Target
from agentic_watch.fleet import credentials, hook_runs, one_push
from agentic_watch.fleet.hook_runs import HookOutcome
from agentic_watch.fleet.host_identity import NoHostId
from agentic_watch.fleet.one_push import PushContext, Pushed
from agentic_watch.fleet.push_follow import follow
from agentic_watch.fleet.push_state import StateError
from agentic_watch.fleet.target_interface import Unavailable, Unusable

log = logging.getLogger("agentic_watch.push")

EXIT_SET_ASIDE = 3
"""Everything was sent, except commits that a target rejected because of their content."""


@dataclass(frozen=True, slots=True)
class _How:
    following: bool
    initialise: bool
    by_month: int | None
    retry_failed: bool
    dry_run: bool
    as_json: bool


@click.command("push")
@click.option("--to", "name", metavar="NAME", help="Only to this target, and no hooks.")
@click.option("--follow", "following", is_flag=True, help="Keep running and push new commits.")
@click.option("--init", "initialise", is_flag=True, help="Create or migrate the tables (PostgreSQL); send nothing.")
@click.option(
    "--by-month", type=click.IntRange(1, 240), metavar="N", help="With --init: partition by month, N months from now."
)
@click.option("--retry-failed", is_flag=True, help="Also retry what a target rejected.")
@click.option("--dry-run", is_flag=True, help="Print what would be sent; contact no target, change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def command(state: State, /, name: str | None, **options: Any) -> None:
    """Send to each [[push]] target what it does not have yet, and run the [[hooks]] that are due.

    Retries never create duplicates.

    \b
    Examples:
      agentic-watch push --dry-run
      agentic-watch push --to warehouse --follow
    """
    how = _How(**options)
    _agree(how)
    config = state.config()
    logs.set_up(config, state.verbosity, quieter=not how.following)
    targets = _chosen(config, name)
    hooks = () if name else config.hooks
    try:
        code = _act(config, targets, hooks, how)
    except (StateError, NoHostId) as error:
        raise Refused(str(error)) from error
    click.get_current_context().exit(code)


def _agree(how: _How) -> None:
    if sum((how.following, how.initialise, how.dry_run, how.retry_failed)) > 1:
        raise click.UsageError("--follow, --init, --retry-failed and --dry-run exclude each other")
    if how.by_month and not how.initialise:
        raise click.UsageError("--by-month needs --init")
    if how.as_json and (how.following or how.initialise):
        raise click.UsageError("--json excludes --follow (use --log-format json) and --init")


def _chosen(config: Config, name: str | None) -> tuple[Target, ...]:
    if name is not None:
        return (answer_options.named(config, name, "--to"),)
    answer_options.require_some(config)
    return config.push


def _act(config: Config, targets: Sequence[Target], hooks: Sequence[Hook], how: _How) -> int:
    if how.initialise:
        return _initialise(targets, how.by_month)
    for target in targets:
        if credentials.is_public(target):
            log.warning("%s: this secret is world-readable; chmod 600 %s", target.secret_file, target.secret_file)
    if how.following:
        follow(config.history, targets, hooks)
        return 0
    outcomes: list[HookOutcome] = []
    with one_push.opened(config.history, only_look=how.dry_run) as opened:
        if how.dry_run:
            pushed = [_would_push(target, opened) for target in targets]
        else:
            with one_push.beside(targets, config.history, retry_failed=how.retry_failed) as ends:
                outcomes = [outcome for hook in hooks for outcome in hook_runs.run_due(hook, opened)]
            pushed = [ends[target.name] for target in targets]
    _report(pushed, outcomes, how)
    if any(one.error for one in pushed) or not all(outcome.succeeded for outcome in outcomes):
        return EXIT_FAILED
    return EXIT_SET_ASIDE if any(one.refused for one in pushed) else 0


def _initialise(targets: Sequence[Target], months: int | None) -> int:
    from agentic_watch.fleet import postgres_schema

    wanted = [target for target in targets if target.kind == "postgres"]
    if not wanted:
        raise Misconfigured("--init needs a target of kind postgres, and none is configured")
    failed = False
    for target in wanted:
        try:
            for column in postgres_schema.make_for(target, months, time.gmtime()):
                messages.tell(messages.INFO, f"{target.name}: added {column}")
            messages.tell(messages.INFO, f"{target.name}: the tables are ready")
        except (Unavailable, Unusable) as error:
            messages.tell(messages.ERROR, f"{target.name}: {error}", "failed: ")
            failed = True
    return EXIT_FAILED if failed else 0


def _would_push(target: Target, opened: PushContext) -> Pushed:
    pending = one_push.waiting(target, opened)
    error = f"{opened.history}: cannot be read" if pending is None else None
    return Pushed(target.name, target.kind, 0, (), pending, opened.state.dead_count(target.name), error)


def _report(pushed: Sequence[Pushed], outcomes: Sequence[HookOutcome], how: _How) -> None:
    if how.as_json:
        print_json(_document(pushed, outcomes, dry_run=how.dry_run))
    for one in pushed:
        for refusal in one.refused:
            text = f"{one.target}: {_name(refusal)}: {refusal.cause}"
            messages.tell(messages.WARNING, text, "rejected: ")
        if one.warning:
            messages.tell(messages.WARNING, f"{one.target}: {one.warning}", "warning: ")
        if one.error:
            messages.tell(messages.ERROR, f"{one.target}: {one.error}", "failed: ")
        if not how.as_json:
            click.echo(_line(one, dry_run=how.dry_run))
    for outcome in outcomes:
        if not outcome.succeeded:
            text = f"hook {outcome.hook}: {outcome.workspace}: {outcome.outcome}"
            messages.tell(messages.ERROR, text, "failed: ")


def _line(one: Pushed, *, dry_run: bool) -> str:
    waiting = "unknown" if one.pending is None else one.pending
    if dry_run:
        return f"{one.target}: {waiting} would be sent, {one.dead_letters} set aside"
    return f"{one.target}: {one.sent} sent, {waiting} wait, {one.dead_letters} set aside; {one.seconds:.1f} s"


def _name(refusal: Any) -> str:
    return f"{refusal.commit.columns['workspace']} ({refusal.commit.commit_id})"


def _document(pushed: Sequence[Pushed], outcomes: Sequence[HookOutcome], *, dry_run: bool) -> dict[str, Any]:
    targets = [
        {
            "name": one.target,
            "kind": one.kind,
            "sent_count": one.sent,
            "pending_count": one.pending,
            "dead_letters_count": one.dead_letters,
            "rejected": [
                {
                    "commit_id": refusal.commit.commit_id,
                    "workspace": clean(refusal.commit.columns["workspace"]),
                    "error": refusal.cause,
                }
                for refusal in one.refused
            ],
            "error": one.error,
            "seconds": round(one.seconds, 3),
        }
        for one in pushed
    ]
    hooks = [
        {
            "hook": outcome.hook,
            "commit_id": outcome.commit_id,
            "workspace": clean(outcome.workspace),
            "success": outcome.succeeded,
            "error": None if outcome.succeeded else outcome.outcome,
        }
        for outcome in outcomes
    ]
    return {"schema": SCHEMA, "dry_run": dry_run, "targets": targets, "hooks": hooks}
