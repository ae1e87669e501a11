"""`--once`: every workspace, now; a large tree in several processes, each of which commits its share.

What several processes may do at any time, the jobs of one pass do, too: each has a connection to the history and
locks of its own. The shares only see to it that no workspace is looked at twice.
"""

from agentic_watch.backfill.backfill_jobs import BackfillJobs, fitting_jobs
from agentic_watch.backfill.one_pass import Failure, SharePass, Summary

__all__ = ["BackfillJobs", "Failure", "SharePass", "Summary", "fitting_jobs"]
