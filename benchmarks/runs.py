"""What our runner adds: `receipts` with model `none`, beside the same nodes in bare LangGraph with its SQLite saver.

Both keep checkpoints in a new SQLite file at synchronous=FULL; ours writes the ledger (runs, steps, verdicts, reviews)
into the same file too, and waits for each step's record. Rounds alternate, so that a busy machine slows both.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from stanchion import Input, RunContext, Runner, read_inputs
from stanchion.graphs.demo import DATASET
from stanchion.graphs.receipts import builder, workflow

AIM = 1.25


def documents() -> list[Input]:
    """The demo's documents that hold text; PDFs would measure the PDF reader."""
    return [item for item in read_inputs([str(DATASET)]) if item.document.get("text")]


async def bare(inputs: list[Input], db: Path, durability: Any) -> float:
    """Seconds that plain LangGraph takes, one document after the other."""
    async with AsyncSqliteSaver.from_conn_string(str(db)) as saver:
        graph = builder.compile(checkpointer=saver)
        await saver.setup()
        start = time.perf_counter()
        for number, item in enumerate(inputs):
            config: Any = {"configurable": {"thread_id": str(number)}}
            await graph.ainvoke({"document": item.document}, config, context=RunContext(), durability=durability)
        return time.perf_counter() - start


async def ours(inputs: list[Input], db: Path) -> float:
    """Seconds that our runner takes for the same, one run at a time."""
    async with Runner(workflow, db=db, model="none", concurrency=1) as runner:
        start = time.perf_counter()
        await runner.start(inputs)
        return time.perf_counter() - start


async def measure(rounds: int) -> dict[str, Any]:
    """Alternate both and compare."""
    inputs = documents() * 2
    taken: dict[str, list[float]] = {"bare, durability sync": [], "bare, default durability": [], "ours": []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds + 1):
            paths = [Path(folder) / f"{number}-{name}.db" for name in ("sync", "async", "ours")]
            times = [await bare(inputs, paths[0], "sync"), await bare(inputs, paths[1], None)]
            times.append(await ours(inputs, paths[2]))
            if number:  # the first round loads parsers and language models
                for name, seconds in zip(taken, times, strict=True):
                    taken[name].append(seconds)
    ms = {name: 1000 * statistics.median(values) / len(inputs) for name, values in taken.items()}
    ratio = {
        name: statistics.median(one / other for one, other in zip(taken["ours"], taken[name], strict=True))
        for name in list(taken)[:2]
    }
    return {"documents": len(inputs), "rounds": rounds, "ms per run": ms, "ours over": ratio, "aim": AIM}


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = asyncio.run(measure(options.rounds))
    if options.json:
        print(json.dumps(result, indent=2))
        return
    print(f"receipts with model none, {result['documents']} documents one after the other, {options.rounds} rounds")
    for name, ms in result["ms per run"].items():
        print(f"  {name:26} {ms:7.2f} ms per run")
    for name, ratio in result["ours over"].items():
        print(f"  ours over {name:26} {ratio:5.2f}   (aim: at most {AIM})")
    sys.exit(1 if result["ours over"]["bare, durability sync"] > AIM else 0)


if __name__ == "__main__":
    main()
