"""The machines that a nightly run covers: a matrix, and its cells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product


@dataclass(frozen=True)
class Cell:
    """One machine.

    kernel: name or path of the kernel
    cpus: number of CPUs
    kaslr: whether KASLR is on
    """

    kernel: str
    cpus: int
    kaslr: bool

    @property
    def name(self) -> str:
        """A name for people and for a directory, such as `minimal-2cpu-nokaslr`."""
        kernel = "".join(c if c.isalnum() or c in "._-" else "_" for c in self.kernel).lstrip("._-")
        return f"{kernel or 'kernel'}-{self.cpus}cpu-{'kaslr' if self.kaslr else 'nokaslr'}"

    def pytest_options(self) -> tuple[str, ...]:
        """The plugin's options for this machine, booted cold for every test.

        A restored guest would have its template's slide, and hide what fires late
        (docs/design.md, decisions 4 and 5).
        """
        options = (f"--kh-kernel={self.kernel}", f"--kh-cpus={self.cpus}", "--kh-cold")
        return options if self.kaslr else (*options, "--kh-append=nokaslr")


@dataclass(frozen=True)
class Matrix:
    """The matrix of a nightly run: all combinations of its fields, kernels varying slowest."""

    kernels: tuple[str, ...] = ("minimal", "debian")
    cpus: tuple[int, ...] = (1, 2)
    kaslr: tuple[bool, ...] = (True, False)

    def cells(self) -> Iterator[Cell]:
        for kernel, cpus, kaslr in product(self.kernels, self.cpus, self.kaslr):
            yield Cell(kernel, cpus, kaslr)
