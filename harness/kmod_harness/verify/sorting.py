"""The kernel's `sort()`: a bottom-up heapsort, not stable, so that equal elements end up where it puts them.

lib/sort.c, 6.1.192.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def kernel_sort(items: list[T], compare: Callable[[T, T], int]) -> list[T]:
    """Returns the items as the kernel's sort() leaves them; compare as in C."""
    heap = list(items)
    end = len(heap)
    root = end // 2
    if not root:
        return heap
    while True:
        if root:
            root -= 1
        else:
            end -= 1
            if not end:
                return heap
            heap[0], heap[end] = heap[end], heap[0]
        _sift_down(heap, root, end, compare)


def _sift_down(heap: list[T], root: int, end: int, compare: Callable[[T, T], int]) -> None:
    leaf = root
    while True:
        left, right = 2 * leaf + 1, 2 * leaf + 2
        if right >= end:
            break
        leaf = left if compare(heap[left], heap[right]) >= 0 else right
    if right == end:  # the last leaf has no sibling
        leaf = left
    while leaf != root and compare(heap[root], heap[leaf]) >= 0:
        leaf = (leaf - 1) // 2
    place = leaf
    while leaf != root:
        leaf = (leaf - 1) // 2
        heap[leaf], heap[place] = heap[place], heap[leaf]
