"""The page that explains, from one real boot, how a module got into the kernel."""

from __future__ import annotations

from .account import Account, account_of
from .page import Measured, render, verdict_counts, write_page

__all__ = ["Account", "Measured", "account_of", "render", "verdict_counts", "write_page"]
