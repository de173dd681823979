"""Receipts and bad inputs of our own making, with recorded answers of a model, good and bad."""

from pathlib import Path

DATASET = Path(__file__).with_name("receipts.jsonl")
"""JSON lines of `{"id", "input", "recorded", "truth"}`; `--model recorded:demo` answers from it."""
