"""kill -9 at random moments while 200 receipts run with concurrency 8, then `stanchion resume`, until all have ended.

Real processes of the real command line against our OpenAI-protocol server, which counts. Prints what was asked, what
was kept at each kill, and what was asked again; exits with 1 where a receipt was lost or a kept answer was paid for
twice. Documents are those of the development data where it is present, else the demo's.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from stanchion import read_inputs
from stanchion.graphs.demo import DATASET
from stanchion.testing import OpenAIServer

DATA = Path(__file__).parents[2] / "shared" / "data" / "receipts.jsonl.gz"


def documents(count: int) -> list[dict[str, Any]]:
    """Receipts with a reference of their own, and what the model will answer."""
    found = list(read_inputs([str(DATA if DATA.exists() else DATASET)], max_bytes=50_000_000))
    usable = [item for item in found if item.recorded and "text" in item.document]
    rows = []
    for number in range(count):
        item = usable[number % len(usable)]
        answers = next(iter((item.recorded or {}).values()))
        text = f"{item.document['text']}\nREF{number:05}"
        rows.append(
            {
                "id": f"r{number}",
                "input": {"text": text},
                "answers": answers if isinstance(answers, list) else [answers],
            }
        )
    return rows


def reference(text: str) -> int:
    """The number of the document that a prompt is about."""
    return int(text[text.rindex("REF") + 3 :][:5])


def stanchion(*arguments: str, url: str) -> subprocess.Popen[bytes]:
    """Start the command line."""
    environment = {**os.environ, "OPENAI_API_KEY": "test", "OPENAI_BASE_URL": url}
    command = [sys.executable, "-m", "stanchion.cli", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


def kept(db: Path) -> set[tuple[int, int]]:
    """The calls whose answer stands in the file: document and length of the conversation."""
    if not db.exists():
        return set()
    with sqlite3.connect(db) as connection:
        rows = connection.execute("SELECT request FROM calls WHERE status = 'answered'").fetchall()
    messages = [json.loads(row[0]) for row in rows]
    return {(reference(item[1]["data"]["content"]), len(item)) for item in messages}


def soak(count: int, kills: int, seed: int) -> dict[str, Any]:
    """Run, kill, resume; return the figures."""
    chance = random.Random(seed)
    rows = documents(count)

    def reply(request: dict[str, Any]) -> str:
        time.sleep(0.02)  # noqa: TID251 - a provider takes its time
        answers = rows[reference(request["messages"][1]["content"])]["answers"]
        given = sum(message["role"] == "assistant" for message in request["messages"])
        answer = answers[min(given, len(answers) - 1)]
        return answer if isinstance(answer, str) else json.dumps(answer)

    with tempfile.TemporaryDirectory() as folder, OpenAIServer(reply) as server:
        db, inputs = Path(folder) / "soak.db", Path(folder) / "inputs.jsonl"
        inputs.write_text("".join(json.dumps({key: row[key] for key in ("id", "input")}) + "\n" for row in rows))
        arguments = ["run", "receipts", str(inputs), "--model", "openai:test"]
        paid_at_kill: list[tuple[set[tuple[int, int]], Counter[tuple[int, int]]]] = []

        def asked() -> Counter[tuple[int, int]]:
            bodies = [request.body["messages"] for request in server.requests]
            return Counter((reference(body[1]["content"]), len(body)) for body in bodies)

        for _ in range(kills):
            process = stanchion(*arguments, "--db", str(db), "--concurrency", "8", url=server.url)
            before = server.count
            while process.poll() is None and server.count == before:
                time.sleep(0.05)  # noqa: TID251 - looks whether the other process has begun
            time.sleep(chance.uniform(0, 4.0))  # noqa: TID251 - the random moment
            process.send_signal(signal.SIGKILL)
            process.wait()
            paid_at_kill.append((kept(db), asked()))
            arguments = ["resume"]
        final = stanchion("resume", "--db", str(db), "--concurrency", "8", url=server.url)
        final.wait()
        total = asked()
        with sqlite3.connect(db) as connection:
            ends = Counter(connection.execute("SELECT coalesce(outcome, status) FROM runs").fetchall())
    again = sum(total[call] > then[call] for answered, then in paid_at_kill for call in answered)
    return {
        "receipts": count,
        "kills": kills,
        "calls": len(total),
        "requests": sum(total.values()),
        "kept at each kill": [len(answered) for answered, _ in paid_at_kill],
        "kept answers asked for again": again,
        "ends": {name: number for (name,), number in sorted(ends.items())},
        "lost": count - sum(number for (name,), number in ends.items() if name in ("accepted", "waiting", "refused")),
    }


def main() -> None:
    """Print the figures; exit with 1 where a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--receipts", type=int, default=200)
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = soak(options.receipts, options.kills, options.seed)
    print(
        json.dumps(result, indent=2)
        if options.json
        else "\n".join(f"  {key}: {value}" for key, value in result.items())
    )
    sys.exit(1 if result["lost"] or result["kept answers asked for again"] else 0)


if __name__ == "__main__":
    main()
