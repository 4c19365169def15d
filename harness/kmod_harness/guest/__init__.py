"""The same machine seen from inside: agent, serial shell, SSH, kernel log; `Guest` ties them."""

from .guest import Guest
from .jobs import Completed
from .module import LoadedModule
from .process import Process, ProcessKilled

__all__ = ["Completed", "Guest", "LoadedModule", "Process", "ProcessKilled"]
