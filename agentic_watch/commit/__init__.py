"""Have we done it? The only room that knows the three records and their order.

Journal line, then history row, then marker, each on disk before the next is begun; so whatever a kill
or a power cut leaves behind, running the same function again completes it, and nothing is done twice.
"""

from agentic_watch.commit.committer import Committer
from agentic_watch.commit.outcome import Outcome, Verdict
from agentic_watch.commit.plan import Plan, decide

__all__ = ["Committer", "Outcome", "Plan", "Verdict", "decide"]
