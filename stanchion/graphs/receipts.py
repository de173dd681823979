"""Receipts: a document goes in, a decision comes out.

Rules read the receipt first, free of charge. Where they are unsure, a model is asked; its answer is guarded, repaired
once, or replaced by more thorough rules. Then the rungs are weighed field by field, and a person is asked where they
leave a doubt. Every arrow is an edge below.
"""

from __future__ import annotations

from collections.abc import Hashable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated

from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel, ConfigDict

from stanchion.context import RunContext
from stanchion.graphs.demo import DATASET
from stanchion.graphs.receipts_rules import quick, thorough
from stanchion.graphs.receipts_truth import same_company, same_date, same_total
from stanchion.graphs.receipts_weigh import weigh
from stanchion.guards import Consistent, Grounded, Placeholder, Plausible, WellFormed, guarded
from stanchion.models.prompts import Prompt
from stanchion.nodes import WorkflowState, decide, decision, extract, intake, outcome, repair, review, structured
from stanchion.workflow import Workflow

PROMPT = Prompt.read(Path(__file__).with_name("prompts") / "receipts.extract.toml")
SURE = {"date": 0.99, "total": 0.99}  # from here the rules need no model
ACCEPT_AT = 0.95  # from here nobody needs to look; `stanchion eval` shows what other thresholds would do

# --- What a receipt is, and what its values must pass  ---

Name = Annotated[str, guarded(Placeholder(), WellFormed(longest=200), Grounded(similar=0.8, severity="warn"))]
Amount = Annotated[Decimal, guarded(Plausible(minimum=-1_000_000, maximum=1_000_000))]
GroundedAmount = Annotated[Decimal, guarded(Plausible(minimum=0, maximum=1_000_000), Grounded())]
GroundedDate = Annotated[date, guarded(Plausible(since=1990), Grounded())]


class Item(BaseModel):
    """One line of a receipt."""

    model_config = ConfigDict(extra="forbid")

    name: str
    quantity: Decimal | None = None
    unit_price: Amount | None = None
    total_price: Amount | None = None


class Receipt(BaseModel):
    """A receipt: money in units of `currency`, the total as it was payable."""

    model_config = ConfigDict(extra="forbid")

    company: Name | None = None
    address: Name | None = None
    date: GroundedDate
    currency: str | None = None
    subtotal: Amount | None = None
    tax: Amount | None = None
    total: GroundedAmount
    items: list[Item] = []


GuardedReceipt = Annotated[Receipt, Consistent(total="total", parts=("subtotal", "tax"), severity="warn")]

# --- The graph  ---

builder = StateGraph(WorkflowState, context_schema=RunContext)

builder.add_node("intake", intake(max_chars=20_000, languages={"en", "ms"}))
builder.add_node("rules", extract(quick, sure=SURE))
builder.add_node("model", structured(PROMPT, GuardedReceipt))
builder.add_node("repair", repair(PROMPT, GuardedReceipt, at_most=1))
builder.add_node("thorough", extract(thorough, rung="fallback"))
builder.add_node("decide", decide(GuardedReceipt, critical=("date", "total"), accept_at=ACCEPT_AT, weigh=weigh))
builder.add_node(
    "review",
    review(Receipt, question="Is this what the receipt says?", stake="total", expires=timedelta(days=14)),
)
builder.add_node("outcome", outcome())

builder.add_edge(START, "intake")
builder.add_conditional_edges("intake", decision, {"accept": "rules", "refuse": "outcome"})
builder.add_conditional_edges("rules", decision, {"accept": "decide", "unsure": "model"})
AFTER_MODEL: dict[Hashable, str] = {"accept": "decide", "repair": "repair", "fall_back": "thorough", "review": "review"}
builder.add_conditional_edges("model", decision, AFTER_MODEL)
builder.add_conditional_edges("repair", decision, AFTER_MODEL)
builder.add_edge("thorough", "decide")
builder.add_conditional_edges("decide", decision, {"accept": "outcome", "review": "review"})
builder.add_edge("review", "outcome")
builder.add_edge("outcome", END)

graph = builder.compile(name="receipts")

workflow = Workflow(
    graph,
    name="receipts",
    version="1",
    output=Receipt,
    prompts=[PROMPT],
    compare={"date": same_date, "total": same_total, "company": same_company},
    critical=("date", "total"),
    group="company",
    examples=DATASET,
)
