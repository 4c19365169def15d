"""Claims about how a kernel module gets into a kernel, each decided by experiments from two sides."""

from .claim import Claim, Evidence, Outcome, Verdict
from .observations import Observations

__all__ = ["Claim", "Evidence", "Observations", "Outcome", "Verdict"]
