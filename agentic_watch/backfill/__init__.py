"""`--once`: commits every finished workspace now; in a large tree by several processes, each with its share.

Commits are safe in several processes at any time: each has its own connection to the history and its own locks. The
shares only prevent a workspace from being examined twice.
"""

from agentic_watch.backfill.backfill_jobs import BackfillJobs, fitting_jobs
from agentic_watch.backfill.one_pass import Failure, SharePass, Summary

__all__ = ["BackfillJobs", "Failure", "SharePass", "Summary", "fitting_jobs"]
