"""Finding runs among a hundred thousand: one filter, which is also a URL, and lists that read only what they show.

Every list is answered from the covering index `runs_listed`, and text from the full-text index `runs_text`; only the
rows of one page are then read from the table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from stanchion.errors import UsageError
from stanchion.guards.limits.money import BILLIONTHS, in_billionths
from stanchion.runs.records import Status
from stanchion.store import Database
from stanchion.verdict import OutcomeKind, Rung

Sort = Literal["newest", "oldest", "slowest", "dearest", "least_sure"]
Standing = Literal[OutcomeKind, "queued", "running", "review", "paused", "cancelled"]
"""Where a run stands, in the one word of `Run.standing`: each run has exactly one."""

SORTS: tuple[Sort, ...] = get_args(Sort)
STANDINGS: tuple[Standing, ...] = get_args(Standing)
RUNGS: tuple[Rung, ...] = get_args(Rung)

LONGEST_TEXT = 300  # characters of a text that are searched for
LONGEST_VALUE = 300  # of any other; no name of ours is longer
MOST_CHOICES = 2_000  # in all; a list to choose from that is longer helps nobody
SHORTEST_BEGINNING = 3  # of the last word of a text: the beginnings of fewer letters are those of half the words
MOST_RUNS = 1_000_000_000
MOST_DOLLARS = 1_000_000_000
MOST_SECONDS = 10_000_000_000

_ID = re.compile(r"[0-9A-Za-z_-]{4,}")  # or the beginning of one: of fewer characters, it would be met by accident

# --- What a filter is  ---


def _encodable(text: str) -> str:
    """Replace halves of characters, which no database can be asked for."""
    return text.encode("utf-8", "replace").decode()


def _searchable(text: str) -> str:
    shown = "".join(character if character.isprintable() else " " for character in text[:LONGEST_TEXT])
    return " ".join(_encodable(shown).split())


def _as_moment(value: object) -> datetime:
    read = datetime.fromisoformat(value) if isinstance(value, str) else value
    if not isinstance(read, datetime):
        raise ValueError("no date")  # a bare number would be taken for seconds since 1970
    try:
        return read.replace(tzinfo=read.tzinfo or UTC).astimezone(UTC)
    except OverflowError as error:
        raise ValueError("out of range") from error


Text = Annotated[str, AfterValidator(_searchable)]
Name = Annotated[str, Field(min_length=1, max_length=LONGEST_VALUE), AfterValidator(_encodable)]
Moment = Annotated[datetime, BeforeValidator(_as_moment)]
Dollars = Annotated[Decimal, Field(ge=0, le=MOST_DOLLARS, decimal_places=9)]
Seconds = Annotated[float, Field(ge=0, le=MOST_SECONDS, allow_inf_nan=False)]


class RunFilter(BaseModel):
    """Which runs are wanted, and in which order; what is left out does not matter.

    Args:
        text: words that all stand in the run's input id, reason or output, the last of which may be unfinished; or the
            beginning of its id. Case and accents do not matter. Of a longer text, the first 300 characters count.
        workflow: the workflow's name.
        standing: where it stands, in the word that lists show.
        status: where it is: unlike `standing`, a run that is held back keeps its status.
        rung: where its value came from.
        version: of the workflow.
        model: the model's usual string.
        tenant: on whose behalf it was made.
        step: a node that it has been at.
        error: the class of the error that ended it.
        since: accepted at or after this moment; without a time zone it is in UTC.
        until: accepted before this moment.
        min_cost: US dollars; runs whose cost is unknown are left out.
        max_cost: US dollars; runs whose cost is unknown are left out.
        min_seconds: worked on for at least so long; waiting for people is no work.
        max_seconds: worked on for at most so long.
        sort: `slowest` by time at work, `dearest` by cost, `least_sure` by confidence; what is unknown comes last, and
            among equals the one accepted last first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: Text = ""
    workflow: Name | None = None
    standing: Standing | None = None
    status: Status | None = None
    rung: Rung | None = None
    version: Name | None = None
    model: Name | None = None
    tenant: Name | None = None
    step: Name | None = None
    error: Name | None = None
    since: Moment | None = None
    until: Moment | None = None
    min_cost: Dollars | None = None
    max_cost: Dollars | None = None
    min_seconds: Seconds | None = None
    max_seconds: Seconds | None = None
    sort: Sort = "newest"

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            key = str(error.errors()[0]["loc"][0])
            if key not in _TAKES:
                raise UsageError(f"Runs cannot be found by {key[:40]!r}; only by {', '.join(_TAKES)}.") from None
            raise UsageError(f"{key} takes {_TAKES[key]}; not {str(values[key])[:40]!r}.") from None

    def to_query(self) -> dict[str, str]:
        """Return what is asked for as the parameters of a URL, which `from_query` reads again."""
        return {name: _written(value) for name, value in self.model_dump(exclude_defaults=True).items()}

    @classmethod
    def from_query(cls, query: Mapping[str, Any]) -> Self:
        """Return the filter that a URL asks for, or somebody at a prompt.

        Args:
            query: name to text; names of anything else, and what is empty, are left alone.

        Raises:
            UsageError: a value cannot be used; the message names its key and says what it takes.
        """
        wanted = {name: query[name] for name in cls.model_fields if name in query and query[name] not in ("", None)}
        for name, value in wanted.items():
            if name != "text" and isinstance(value, str) and len(value) > LONGEST_VALUE:
                raise UsageError(f"{name} takes {_TAKES[name]}; not {len(value)} characters.")
        return cls(**wanted)


_A_NAME = f"a name of 1 to {LONGEST_VALUE} characters"
_A_MOMENT = "a date, with or without a time, such as 2026-11-23 or 2026-11-23T08:30Z"
_AN_AMOUNT = "US dollars as a number, such as 0.05"
_A_TIME = "seconds as a number, such as 1.5"
_TAKES = {
    "text": "words to look for",
    "workflow": _A_NAME,
    "standing": f"one of {', '.join(STANDINGS)}",
    "status": f"one of {', '.join(get_args(Status))}",
    "rung": f"one of {', '.join(RUNGS)}",
    "version": _A_NAME,
    "model": _A_NAME,
    "tenant": _A_NAME,
    "step": _A_NAME,
    "error": _A_NAME,
    "since": _A_MOMENT,
    "until": _A_MOMENT,
    "min_cost": _AN_AMOUNT,
    "max_cost": _AN_AMOUNT,
    "min_seconds": _A_TIME,
    "max_seconds": _A_TIME,
    "sort": f"one of {', '.join(SORTS)}",
}


def _written(value: Any) -> str:
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)


# --- What is found  ---


class RunLine(BaseModel):
    """One run, as a list shows it.

    Args:
        standing: its outcome, `paused`, `review` while it waits for a person, else its status.
        reason: why, for a person; None once erased.
        calls: how many model calls it made.
        cost_usd: US dollars, as of when it last came to rest; None where a price is not known.
        worked_ms: how long it was worked on, in milliseconds.
        error_class: what ended it, where that was an error.
        The others are those of `Run`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    workflow: str
    version: str
    model: str
    tenant: str
    input_id: str
    status: Status
    standing: Standing
    outcome: OutcomeKind | None
    reason: str | None
    rung: Rung | None
    confidence: float | None
    calls: int
    cost_usd: Decimal | None
    worked_ms: float
    error_class: str | None
    created_at: datetime
    ended_at: datetime | None


class Choices(BaseModel):
    """What filters can be set to: every value that a run of this database ever had, in alphabetical order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workflows: list[str] = []
    versions: list[str] = []
    models: list[str] = []
    steps: list[str] = []
    errors: list[str] = []


def find_runs(database: Database, wanted: RunFilter, *, limit: int = 50, offset: int = 0) -> list[RunLine]:
    """Return one page of the runs that a filter asks for, in its order.

    Args:
        database: where they are.
        wanted: which.
        limit: how many at the most.
        offset: how many are skipped.

    Raises:
        UsageError: `limit` or `offset` is negative, or beyond all bounds.
    """
    if not (0 <= limit <= MOST_RUNS and 0 <= offset <= MOST_RUNS):
        raise UsageError(f"A page of runs takes a limit and an offset of 0 or more, and at most {MOST_RUNS}.")
    where, parameters = _where(wanted)
    order = _ORDERS[wanted.sort]
    rows = database.read(
        f"""WITH page AS MATERIALIZED (
                SELECT rowid AS listed FROM runs INDEXED BY runs_listed {where} ORDER BY {order} LIMIT ? OFFSET ?)
            SELECT {_COLUMNS} FROM page CROSS JOIN runs ON runs.rowid = page.listed ORDER BY {order}""",  # noqa: S608
        [*parameters, limit, offset],
    )
    return [_line(row) for row in rows]


def count_runs(database: Database, wanted: RunFilter) -> int:
    """Return how many runs a filter asks for.

    Args:
        database: where they are.
        wanted: which; its order does not matter.
    """
    where, parameters = _where(wanted)
    counting = f"SELECT count(*) AS number FROM runs INDEXED BY runs_listed {where}"  # noqa: S608
    (row,) = database.read(counting, parameters)
    return int(row["number"])


def choices(database: Database) -> Choices:
    """Return what the filters can be set to.

    Args:
        database: whose runs.
    """
    found: dict[str, list[str]] = {}
    for row in database.read("SELECT field, value FROM choices ORDER BY field, value LIMIT ?", [MOST_CHOICES]):
        found.setdefault(f"{row['field']}s", []).append(row["value"])
    return Choices(**found)


def _line(row: dict[str, Any]) -> RunLine:
    cost = row.pop("cost")
    return RunLine(**row, cost_usd=None if cost is None else Decimal(cost) / BILLIONTHS)


# --- How it is found: statements are put together from the constants below; values are bound  ---

_STANDING = """coalesce(outcome, CASE WHEN paused_at IS NOT NULL THEN 'paused'
    WHEN status = 'waiting' THEN 'review' ELSE status END)"""  # as Run.standing

_COLUMNS = f"""id, workflow, version, model, tenant, input_id, status, {_STANDING} AS standing, outcome, reason, rung,
    confidence, made_calls AS calls, cost, worked_ms, error_class, created_at, ended_at"""

# text_id counts runs in the order in which they were accepted, also those of the same moment
_ORDERS: dict[Sort, str] = {
    "newest": "created_at DESC, text_id DESC",
    "oldest": "created_at, text_id",
    "slowest": "worked_ms DESC, text_id DESC",
    "dearest": "cost DESC NULLS LAST, text_id DESC",
    "least_sure": "confidence NULLS LAST, text_id DESC",
}

_CONDITIONS = {
    "workflow": "workflow = ?",
    "standing": f"{_STANDING} = ?",
    "status": "status = ?",
    "rung": "rung = ?",
    "version": "version = ?",
    "model": "model = ?",
    "tenant": "tenant = ?",
    "step": "instr(path, '/' || ? || '/')",
    "error": "error_class = ?",
    "since": "created_at >= ?",
    "until": "created_at < ?",
    "min_cost": "cost >= ?",
    "max_cost": "cost <= ?",
    "min_seconds": "worked_ms >= 1000 * ?",
    "max_seconds": "worked_ms <= 1000 * ?",
}


def _where(wanted: RunFilter) -> tuple[str, list[Any]]:
    """Return the WHERE clause of a filter, of columns that `runs_listed` has, and what its placeholders stand for."""
    pairs = list(_meant(wanted))
    clause = f"WHERE {' AND '.join(condition for condition, _ in pairs)}" if pairs else ""
    return clause, [parameter for _, parameters in pairs for parameter in parameters]


def _meant(wanted: RunFilter) -> Iterator[tuple[str, list[Any]]]:
    if wanted.text:
        yield _with_text(wanted.text)
    for name, condition in _CONDITIONS.items():
        if (value := getattr(wanted, name)) is not None:
            yield condition, [_stored(value)]


def _stored(value: Any) -> Any:
    """Return a value in the form that its column has."""
    match value:
        case datetime():
            return value.isoformat()
        case Decimal():
            return in_billionths(value)
    return value


def _with_text(text: str) -> tuple[str, list[Any]]:
    found = "text_id IN (SELECT rowid FROM runs_text WHERE runs_text MATCH ?)"
    if _ID.fullmatch(text):
        return f"({found} OR id GLOB ?)", [_as_match(text), f"{text}*"]
    return found, [_as_match(text)]


def _as_match(text: str) -> str:
    """Return the full-text query for words that must all be there, the last one as far as it goes.

    What stands in quotes is a string and nothing else, whatever stands in it; a quote is written twice. Source:
    https://sqlite.org/fts5.html, "FTS5 Strings".
    """
    words = text.split()
    unfinished = "*" if len(words[-1]) >= SHORTEST_BEGINNING else ""
    return " ".join(f'"{word.replace(chr(34), chr(34) * 2)}"' for word in words) + unfinished
