"""What each page of the console adds to an empty Streamlit page, in Chromium, with 100,000 runs and 1,000,000 steps.

A page is opened in turns with a Streamlit page that holds one title; both servers are warm. The time is from the
navigation to the end of the page's script, as the browser sees it: as somebody who was there before sees it, whose
browser has Streamlit's scripts (lists need a megabyte more of them), and as somebody who never was.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import crowd
from stanchion.store import Database
from tests.ui.browser.conftest import FLAGS, ROOT, _free_port, console, loaded

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext

AIM_MS = 500.0
EMPTY = "import streamlit as st\nst.title('Nothing')\n"


@contextmanager
def empty_page(folder: Path) -> Iterator[str]:
    """Serve a Streamlit page with a title and nothing else."""
    script, port = folder / "empty.py", _free_port()
    script.write_text(EMPTY)
    options = ["--server.headless", "true", "--server.port", str(port), "--browser.gatherUsageStats", "false"]
    process = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", str(script), *options, "--server.address", "127.0.0.1"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        next(line for line in process.stdout if "URL" in line)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate(timeout=30)


def open_once(browser: Browser, url: str, again: BrowserContext | None = None) -> float:
    """Return how long a page takes, in milliseconds; in a fresh context, or again in one that was there before."""
    context = again or browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(60_000)
    page = context.new_page()
    start = time.perf_counter()
    page.goto(url)
    loaded(page)
    took = (time.perf_counter() - start) * 1000
    if again is None:
        context.close()
    else:
        page.close()
    return took


def pages(database: Path) -> dict[str, str]:
    """Return the address of each page, of runs that are there."""
    opened = Database(database)
    ended, other = (row["id"] for row in opened.read("SELECT id FROM runs WHERE status = 'done' LIMIT 2"))
    opened.close()
    return {
        "Home": "",
        "Runs": "runs",
        "Runs, a search": "runs?text=harbor&sort=slowest",
        "Run": f"run?run={ended}",
        "Compare": f"compare?one={ended}&other={other}",
        "Reviews": "reviews",
        "Operations": "operations",
        "Trail": "trail",
    }


def measure(folder: Path, runs: int, times: int) -> dict[str, Any]:
    """Open every page so many times, in turns with the empty one."""
    from playwright.sync_api import sync_playwright

    database = crowd.make(folder, runs)
    addresses = pages(database)
    with (
        console(database, log=folder / "console.log") as server,
        empty_page(folder) as nothing,
        sync_playwright() as driver,
    ):
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        urls = {"an empty page": nothing, **{name: f"{server.url}/{path}" for name, path in addresses.items()}}
        known = browser.new_context(viewport={"width": 1280, "height": 800})
        for url in urls.values():  # the first visit imports what the page needs
            open_once(browser, url, known)
        fresh: dict[str, list[float]] = {name: [] for name in urls}
        again: dict[str, list[float]] = {name: [] for name in urls}
        for _ in range(times):
            for name, url in urls.items():
                again[name].append(open_once(browser, url, known))
                fresh[name].append(open_once(browser, url))
        browser.close()
    return {name: {"again": statistics.median(again[name]), "first": statistics.median(fresh[name])} for name in urls}


def main() -> None:
    """Measure, print, and fail where a page adds more than half a second."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where the generated database is kept, to be used again")
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if shutil.which("chromium") is None:
        print("Skipped: there is no chromium here.")
        return
    with tempfile.TemporaryDirectory() as folder:
        medians = measure(given.folder or Path(folder), given.runs, given.times)
    least = medians["an empty page"]
    added = {name: {kind: took[kind] - least[kind] for kind in took} for name, took in medians.items()}
    if given.json:
        print(json.dumps({"median_ms": medians, "added_ms": added}))
    else:
        print(
            f"{'median ms':20}{'again':>8}{'added':>8}{'first':>8}{'added':>8}   aim: at most {AIM_MS:.0f} added again"
        )
        for name, took in medians.items():
            more = added[name]
            print(f"{name:20}{took['again']:8.0f}{more['again']:8.0f}{took['first']:8.0f}{more['first']:8.0f}")
    sys.exit(any(value["again"] > AIM_MS for value in added.values()))


if __name__ == "__main__":
    main()
