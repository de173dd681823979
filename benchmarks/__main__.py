"""`python -m benchmarks`: every benchmark, one after the other; fails where one says that a promise is broken."""

from __future__ import annotations

import subprocess
import sys

ALL = (
    "guards",
    "runs",
    "crash_soak",
    "outage",
    "hanging",
    "calls",
    "call_soak",
    "review_soak",
    "console",
    "console_pages",
)


def main() -> None:
    """Run them all, each in a process of its own."""
    failed = []
    for name in ALL:
        print(f"\n== {name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode:
            failed.append(name)
    if failed:
        sys.exit(f"Broken promises: {', '.join(failed)}")


if __name__ == "__main__":
    main()
