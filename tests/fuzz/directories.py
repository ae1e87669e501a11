"""Where workspaces go: by mv, cp, rsync and out of backups, within a root and to the other one."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

from . import dispatchers
from .records import Where
from .world import REPOS, World, clear


def put(source: Path, target: Path) -> None:
    """`mv`: onto what is left there of another workspace, if anything is."""
    clear(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)


def _pair(world: World) -> tuple[Where, Where] | None:
    """A workspace, and where it can go."""
    if (where := world.some()) is None or not (free := world.free()):
        return None
    return where, world.rng.choice(free)


def delete(world: World) -> None:
    """A workspace, or a whole organisation, is deleted."""
    if (where := world.some()) is not None:
        shutil.rmtree(world.path(where if world.chance(0.8) else (where[0], where[1].split("/")[0])))


def move(world: World) -> None:
    """`mv` of a workspace; now and then another is dispatched at once where it was."""
    if (pair := _pair(world)) is not None:
        put(world.path(pair[0]), world.path(pair[1]))
        if world.chance(0.3) and pair[0] in world.free():
            dispatchers.dispatch_at(world, pair[0])


def move_organisation(world: World) -> None:
    """`mv` of a repository or an organisation, also to the other root."""
    if (pair := _pair(world)) is not None and all("/" in name for _, name in pair):
        depth = world.rng.choice((1, 2))
        old, new = (world.path((key, "/".join(name.split("/")[:depth]))) for key, name in pair)
        if not new.exists() and not new.is_symlink() and new.parent.is_dir() and new.parent.resolve() == new.parent:
            old.rename(new)


def copy(world: World) -> None:
    """`cp -a` of a workspace; now and then into every place that is free, and the original is deleted."""
    if (pair := _pair(world)) is None:
        return
    targets = [pair[1]]
    if world.chance(0.2):
        targets = world.free()
    for target in targets:
        if target in world.free():
            new = world.base / "new"
            shutil.copytree(
                world.path(pair[0]), new, symlinks=True, copy_function=world.rng.choice((shutil.copy, shutil.copy2))
            )
            put(new, world.path(target))
    if len(targets) > 1:
        shutil.rmtree(world.path(pair[0]))


def rotate(world: World) -> None:
    """Two workspaces swap their names, or three rotate theirs."""
    there = [where for where in world.places() if "/" in where[1]]
    chosen = world.rng.sample(there, min(len(there), world.rng.choice((2, 3))))
    for number, where in enumerate(chosen):
        world.path(where).rename(world.base / f"aside-{number}")
    for number in range(len(chosen)):
        (world.base / f"aside-{number}").rename(world.path(chosen[number - 1]))


def shift(world: World) -> None:
    """Each workspace takes the name of the next one, the last is deleted; the first is free, or made anew."""
    there = [where for where in world.places() if "/" in where[1]]
    if len(there) < 2:
        return
    chosen = world.rng.sample(there, min(len(there), 3))
    shutil.rmtree(world.path(chosen[-1]))
    for where, after in reversed(list(itertools.pairwise(chosen))):
        world.path(where).rename(world.path(after))
    if world.chance(0.5):
        dispatchers.dispatch_at(world, chosen[0])


def rsync(world: World) -> None:
    """`rsync --remove-source-files`: at the old name empty directories are left, a log, or a symbolic link."""
    if (pair := _pair(world)) is None:
        return
    old, new = world.path(pair[0]), world.path(pair[1])
    put(old, new)
    left = world.rng.choice(("empty", "log", "link"))
    if left == "link" and pair[0] in world.free():
        old.symlink_to(new)
        return
    (old / ".meta").mkdir(parents=True)
    (old / "repo").mkdir()
    if left == "log":
        (old / ".meta" / "agent.log").write_text("it went on and on\n")


def nest(world: World) -> None:
    """A flat workspace goes below an organisation that has its name, or a nested one becomes its organisation."""
    if (where := world.some()) is None:
        return
    root, org = world.root(where[0]).path, where[1].split("/")[0]
    nested = root / org / REPOS[0] / "1"
    old, new = (nested, root / org) if "/" in where[1] else (root / org, nested)
    below = [place for place in world.places() if place[0] == where[0] and place[1].split("/")[0] == org]
    if below == [where] and old == world.path(where):
        old.rename(world.base / "aside")
        put(world.base / "aside", new)


def keep(world: World) -> None:
    """Somebody backs a workspace up."""
    if (where := world.some()) is not None:
        clear(world.base / "kept")
        shutil.copytree(world.path(where), world.base / "kept", symlinks=True)


def restore(world: World) -> None:
    """An older copy of a workspace is restored, over a workspace or where none is."""
    if (world.base / "kept").exists():
        where = world.some() if world.chance(0.5) else None
        if where is None and (free := world.free()):
            where = world.rng.choice(free)
        if where is not None:
            shutil.copytree(world.base / "kept", world.base / "new", symlinks=True)
            put(world.base / "new", world.path(where))
