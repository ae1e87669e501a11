"""What may happen between two passes; each move takes its chances from the world's seed."""

from __future__ import annotations

from collections.abc import Callable

from . import directories, dispatchers, glimpses, operators, processes, pruning
from .world import World

Move = Callable[[World], None]
MOVES: tuple[tuple[Move, float], ...] = (
    (dispatchers.dispatch, 12),
    (dispatchers.rewrite, 14),
    (dispatchers.reword, 2),
    (dispatchers.touch, 3),
    (dispatchers.same_size, 2),
    (dispatchers.remake, 2),
    (dispatchers.template, 3),
    (dispatchers.go_writer, 4),
    (dispatchers.torn_line, 2),
    (dispatchers.spoilt_marker, 3),
    (dispatchers.lost_journal, 2),
    (directories.delete, 2),
    (directories.move, 6),
    (directories.move_organisation, 2),
    (directories.copy, 4),
    (directories.rotate, 3),
    (directories.shift, 2),
    (directories.rsync, 3),
    (directories.nest, 3),
    (directories.keep, 2),
    (directories.restore, 3),
    (glimpses.event, 8),
    (glimpses.glimpse, 5),
    (operators.relayout, 1),
    (operators.killed, 3),
    (operators.restart, 2),
    (operators.lose_history, 1),
    (operators.read_only_tree, 2),
    (operators.back_up, 2),
    (operators.restore_history, 2),
    (operators.delete_rows, 2),
    (operators.damage_search, 2),
    (operators.forget_index, 1),
    (pruning.prune, 3),
    (pruning.prune_without_a_root, 1),
    (pruning.prune_before_a_push, 1),
    (operators.export_and_import, 1),
    (operators.import_archive, 1),
    (operators.import_of_another_host, 1),
    (operators.rename_root, 1),
    (processes.daemon_process, 0.2),
)
"""Each move and how often it comes, against the others. New ones come last, so that a kept seed can be played with the
ones that there were."""

_ORDINARY = {
    *(dispatchers.dispatch, dispatchers.rewrite, dispatchers.template),
    *(directories.delete, directories.move, directories.move_organisation, directories.copy, directories.rotate),
    *(directories.shift, directories.rsync, directories.keep, directories.restore),
    *(operators.killed, operators.restart, operators.lose_history, operators.back_up, operators.restore_history),
    *(pruning.prune, pruning.prune_without_a_root, pruning.prune_before_a_push),
    *(operators.export_and_import, operators.import_archive, operators.import_of_another_host),
    *(operators.rename_root, processes.daemon_process),
}
ORDINARY = tuple(move for move in MOVES if move[0] in _ORDINARY)
"""What dispatchers and operators do: without files that somebody spoils, rows that somebody deletes, and the like."""
