"""What kind of failure it is, and who must look: by what was found and by the kernel's number, never by words."""

from __future__ import annotations

import contextlib
import errno

import pytest
from support import Host, make

from agentic_watch.config import Limits, Root
from agentic_watch.workspace.place import open_place
from agentic_watch.workspace.status import read
from agentic_watch.workspace.workspace_errors import Fault, WorkspaceError


def _failing(host: Host, cause: str) -> WorkspaceError:
    """The error of reading a status that cannot be read for this cause."""
    workspace = make(host.root)
    status = workspace.meta / "status.json"
    if cause == "malformed":
        status.write_text("{")
    elif cause == "too_large":
        status.write_bytes(b" " * (Limits().status_bytes + 1))
    elif cause == "too_deep":
        status.write_text("[" * 200 + "]" * 200)
    else:
        status.unlink()
        status.symlink_to("/etc/hostname")
    with (
        contextlib.closing(open_place(str(host.root), workspace.name)) as place,
        pytest.raises(WorkspaceError) as caught,
    ):
        read(place.directory, place.meta, Root(str(host.root)), Limits())
    return caught.value


@pytest.mark.parametrize(
    ("cause", "kind"),
    [("malformed", "malformed"), ("too_large", "too_large"), ("too_deep", "too_large"), ("planted", "planted")],
)
def test_what_lies_in_a_workspace_has_its_kind(host: Host, cause: str, kind: str) -> None:
    """Who put it there can help, whatever it is."""
    error = _failing(host, cause)
    assert (error.kind, error.fault) == (kind, Fault.WORKSPACE)


@pytest.mark.parametrize(
    ("number", "kind", "fault"),
    [
        (errno.ENOSPC, "disk_full", Fault.HOST),
        (errno.EDQUOT, "disk_full", Fault.HOST),
        (errno.EACCES, "permission", Fault.OPERATOR),
        (errno.EROFS, "permission", Fault.HOST),
        (errno.EWOULDBLOCK, "held", Fault.WORKSPACE),
        (errno.ENOLCK, "io", Fault.OPERATOR),
        (errno.EIO, "io", Fault.HOST),
        (errno.EMFILE, "other", Fault.HOST),
    ],
)
def test_what_the_kernel_refuses_has_its_kind_by_number(number: int, kind: str, fault: Fault) -> None:
    """The same whatever was tried, and whatever the message says."""
    for text in ("cannot be written", "is not there"):
        error = WorkspaceError(".meta/journal.jsonl", text, transient=True)
        error.__cause__ = OSError(number, "")
        assert (error.kind, error.fault) == (kind, fault)
