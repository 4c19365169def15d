"""`kmod-harness explain`: one real boot becomes a page, and the page holds in a real browser."""

from __future__ import annotations

import csv
import re
import subprocess
from pathlib import Path

import pytest

from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.explain.claims.catalogue import CLAIMS
from kmod_harness.explain.claims.claim import Verdict
from shared.browser import chromium, overflowing
from shared.cli_process import command_line


@pytest.fixture(scope="module")
def explained(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[subprocess.CompletedProcess[str], Path]:
    """The sample driver explained on the kernel of this run."""
    out = tmp_path_factory.mktemp("explain")
    words = command_line("explain", "-o", out)
    done = subprocess.run(words, capture_output=True, text=True, timeout=240, check=False)
    return done, out / "index.html"


def test_it_prints_the_pages_path_and_what_it_says(
    explained: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    done, page = explained
    assert done.returncode == 0, done.stdout + done.stderr
    path, empty, summary = done.stdout.splitlines()
    assert (path, empty) == (str(page), "")
    counts = re.findall(rf"(\d+) ({'|'.join(verdict.value for verdict in Verdict)})", summary)
    assert sum(int(count) for count, _ in counts) == len(CLAIMS)
    assert "each for a known reason" in summary


def test_the_page_holds_what_was_measured(
    explained: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    page = explained[1].read_text()
    assert len(re.findall(r'<article id="claim-\d+"', page)) == len(CLAIMS)
    # every claim: two kinds of evidence, or the reason why there is none
    for article in re.findall(r'<article id="claim-.*?</article>', page, re.DOTALL):
        sides = re.findall(r'<details class="evidence">|<p class="evidence-none">', article)
        assert len(sides) == 2
    for part in ("where", "pages", "relocations", "timeline", "claims", "measured"):
        assert f'<section id="{part}"' in page
    assert "None is left unexplained." in page
    listed = list(csv.DictReader((explained[1].parent / "relocations.csv").open()))
    assert f"{len(listed)} relocations" in page
    assert {"vmlinux", "chardev"} <= {row["image"] for row in listed}


@pytest.mark.needs("gdb")
def test_the_way_of_open_ends_in_the_modules_source(
    run_kernel: Kernel,
    explained: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    page = explained[1].read_text()
    if "no stacks from outside" in page:
        pytest.skip("the page says why there are no stacks")
    way = page.split('<section id="open"', 1)[1].split("</ol>", 1)[0]
    functions = re.findall(r'<span class="function">(?:<code>)?([^<]+)', way)
    assert functions[-2:] == ["chrdev_open", "chardev_open"]
    # source lines need vmlinux
    if run_kernel.vmlinux is not None:
        assert "chardev/fops.c:" in way and "fs/char_dev.c:" in way


@pytest.mark.needs("chromium")
def test_in_a_browser_nothing_complains_and_nothing_overflows(
    explained: tuple[subprocess.CompletedProcess[str], Path], tmp_path: Path
) -> None:
    with chromium(tmp_path) as browser:
        for width in (360, 768, 1024, 1280, 1920):
            browser.open(explained[1], width=width, dark=width == 360)
            assert overflowing(browser) == []
            assert browser.complaints == []
            browser.set_wide()
            assert overflowing(browser) == []
