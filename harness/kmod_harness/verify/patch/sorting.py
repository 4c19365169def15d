"""The kernel's `sort()`: a bottom-up heapsort. It is not stable, so equal elements need the same algorithm.

lib/sort.c, 6.1.192, and 6.12.118, which takes the two largest from the heap at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from kmod_harness.releases import facts
from kmod_harness.releases.release import Release

T = TypeVar("T")


def kernel_sort(items: list[T], compare: Callable[[T, T], int], release: Release) -> list[T]:
    """Returns the items in the order in which sort() of 6.1 or 6.12 leaves them; `compare` as in C."""
    by_two = facts.SORT_BY_TWO.holds(release)
    return _sorted_by_two(items, compare) if by_two else _sorted_by_one(items, compare)


def _sorted_by_two(items: list[T], compare: Callable[[T, T], int]) -> list[T]:
    heap = list(items)
    end = len(heap)
    root, second = end // 2, 0
    if not root:
        return heap
    while root or end > 3:
        if root:
            root -= 1 << second
        else:
            end -= 1
            heap[0], heap[end] = heap[end], heap[0]
            second = int(compare(heap[1], heap[2]) <= 0)
            root = 1 << second
            end -= 1
            heap[root], heap[end] = heap[end], heap[root]
        _sift_down(heap, root, end, compare, on_equal_left=False)
    end -= 1
    heap[0], heap[end] = heap[end], heap[0]
    if end == 2 and compare(heap[0], heap[1]) > 0:
        heap[0], heap[1] = heap[1], heap[0]
    return heap


def _sorted_by_one(items: list[T], compare: Callable[[T, T], int]) -> list[T]:
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
        _sift_down(heap, root, end, compare, on_equal_left=True)


def _sift_down(
    heap: list[T], root: int, end: int, compare: Callable[[T, T], int], *, on_equal_left: bool
) -> None:
    leaf = root
    while True:
        left, right = 2 * leaf + 1, 2 * leaf + 2
        if right >= end:
            break
        order = compare(heap[left], heap[right])
        leaf = left if order > 0 or (on_equal_left and order == 0) else right
    if right == end:  # the last leaf has no sibling
        leaf = left
    while leaf != root and compare(heap[root], heap[leaf]) >= 0:
        leaf = (leaf - 1) // 2
    place = leaf
    while leaf != root:
        leaf = (leaf - 1) // 2
        heap[leaf], heap[place] = heap[place], heap[leaf]
