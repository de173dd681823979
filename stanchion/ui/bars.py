"""Runs over time as bars: three kinds, told apart by pattern and legend as well as by colour."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from math import ceil

from stanchion.ui.markup import Markup, inside, text
from stanchion.watch.overview import Ended

KINDS = {
    "by itself": ("accepted",),
    "by a person": ("reviewed", "rejected"),
    "not at all": ("expired", "refused", "failed", "cancelled"),
}
"""What the bars tell apart, from the ground up."""

MOST_BARS = 62

STYLE = """<style>
.bars { display: flex; align-items: flex-end; gap: 2px; height: 7.2rem; border-bottom: 1px solid var(--grey) }
.bars > div { flex: 1; display: flex; flex-direction: column-reverse; height: 100%; min-width: 0 }
.bars i { display: block; min-height: 2px }
.k0 { background: #3b78c3 }
.k1 { background: repeating-linear-gradient(45deg, #e0a030 0 3px, #9a6a10 3px 6px) }
.k2 { background: repeating-linear-gradient(90deg, #d0524a 0 2px, transparent 2px 4px); outline: 1px solid #d0524a;
  outline-offset: -1px }
.legend { display: flex; justify-content: space-between; font-size: .8rem; margin-top: .25rem }
.legend i { display: inline-block; width: .9rem; height: .7rem; margin: 0 .3rem 0 .7rem }
</style>"""


def bars(ended: Sequence[Ended], since: datetime, hours: int) -> Markup:
    """Return runs that ended, one bar for each hour or for several, with a legend.

    Args:
        ended: per hour and outcome.
        since: the beginning of the first hour.
        hours: how many there are, this one included.
    """
    wide = ceil(hours / MOST_BARS)
    counts = [Counter[str]() for _ in range(ceil(hours / wide))]
    for part in ended:
        place = int((part.hour - since) / timedelta(hours=wide))
        if 0 <= place < len(counts):
            counts[place][part.outcome] += part.runs
    tallest = max((count.total() for count in counts), default=0) or 1
    drawn = [_bar(count, since + timedelta(hours=wide * place), tallest) for place, count in enumerate(counts)]
    return Markup(inside("div", Markup("".join(drawn)), class_="bars") + _legend(since, wide, tallest))


def _bar(count: Counter[str], begins: datetime, tallest: int) -> Markup:
    said = ", ".join(f"{number} {outcome}" for outcome, number in count.most_common()) or "no runs"
    parts = "".join(
        inside("i", "", class_=f"k{place}", style=f"height:{100 * number / tallest:.1f}%")
        for place, outcomes in enumerate(KINDS.values())
        if (number := sum(count[outcome] for outcome in outcomes))
    )
    return inside("div", Markup(parts), title=f"{begins:%d %b %H:%M} UTC: {said}")


def _legend(since: datetime, wide: int, tallest: int) -> Markup:
    keys = "".join(inside("i", "", class_=f"k{place}") + text(kind) for place, kind in enumerate(KINDS))
    each = "an hour" if wide == 1 else f"{wide} hours"
    ends = [
        text(f"{since:%d %b %H:%M}"),
        Markup(keys),
        text(f"now · at most {tallest:,} in {each}"),
    ]
    return inside("div", Markup("".join(inside("span", end) for end in ends)), class_="legend")
