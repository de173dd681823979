"""A state as somebody edited it: read as the types that the graph declares, and made a checkpoint by LangGraph."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NotRequired, Required, get_args, get_origin, get_type_hints

from langchain_core.runnables import RunnableConfig
from langgraph.channels import BinaryOperatorAggregate
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    get_checkpoint_metadata,
)
from langgraph.types import Command, Overwrite, PregelTask
from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from stanchion.errors import UsageError
from stanchion.runs.checkpoints import CheckpointSaver
from stanchion.workflow import Graph

EDITOR = "edit by an operator"  # the node in whose name the state is changed; the run's own graph has none of it
SENDS = "__pregel_tasks"  # LangGraph's channel of what `Send` asked for; pinned by a test
MOST_TOLD = 5  # problems of one edit


class EditedCheckpoint(NamedTuple):
    """A checkpoint that follows another one, as its row in LangGraph's table.

    Args:
        checkpoint_id: its id.
        parent: the id of the one that it follows.
        type: of the serialization.
        checkpoint: serialized.
        metadata: JSON.
    """

    checkpoint_id: str
    parent: str
    type: str
    checkpoint: bytes
    metadata: bytes


def read_edits(graph: Graph, edits: Mapping[str, Any]) -> dict[str, Any]:
    """Return edits as values of the types that a graph's state declares.

    Args:
        graph: a compiled graph.
        edits: key of the state to its new value, in JSON form or as what it stands for.

    Raises:
        UsageError: the state has no such key, or the value does not fit; the message names the key.
    """
    types = state_types(graph)
    if unknown := [key for key in edits if key not in types]:
        raise UsageError(f"The state has no key {', '.join(map(repr, unknown))}; it has {', '.join(types)}.")
    return {key: _read(key, value, types[key]) for key, value in edits.items()}


def state_types(graph: Graph) -> dict[str, Any]:
    """Return the type of each key of a graph's state, in the order in which it declares them.

    Args:
        graph: a compiled graph; the keys of a state that is no class with fields have no type, and are left out.
    """
    types: dict[str, Any] = {}
    for schema in graph.builder.schemas:
        try:
            hints = get_type_hints(schema, include_extras=True)
        except (TypeError, NameError):
            continue
        types = {key: _bare(hint) for key, hint in hints.items() if key in graph.builder.channels} | types
    return types


def _bare(hint: Any) -> Any:
    return _bare(get_args(hint)[0]) if get_origin(hint) in (Required, NotRequired) else hint


def _read(key: str, value: Any, hint: Any) -> Any:
    try:
        return TypeAdapter(hint).validate_python(value)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, (key, *item['loc'])))}: {item['msg']}" for item in error.errors()[:MOST_TOLD]]
        raise UsageError(f"This edit does not fit the state: {'; '.join(problems)}. Nothing was made.") from error
    except (PydanticUserError, RecursionError) as error:
        raise UsageError(f"The key {key} cannot be edited ({type(error).__name__}). Nothing was made.") from error


async def edited(
    graph: Graph,
    saver: CheckpointSaver,
    before: CheckpointTuple,
    tasks: Sequence[PregelTask],
    values: Mapping[str, Any],
) -> EditedCheckpoint:
    """Return the checkpoint that follows one, with another state and the same tasks next; nothing is written.

    A key has exactly its new value, also where a reducer would have merged it with the old one.

    Args:
        graph: whose state it is.
        saver: reads the thread.
        before: the checkpoint to follow.
        tasks: what is next after it, all of it.
        values: from `read_edits`.

    Raises:
        UsageError: LangGraph cannot take or store a value.
    """
    # A node of our own, with no edge from it, says by Command what is next. In the name of one of the graph's nodes
    # its edges would be asked again, and lead elsewhere wherever a Command or an error handler had led here.
    builder = copy.copy(graph.builder)
    builder.nodes, builder.compiled = {**graph.builder.nodes}, False
    builder.add_node(EDITOR, lambda _state: None)
    kept = _Kept(saver)
    editor = builder.compile().copy(update={"checkpointer": kept})
    update = {key: _replacing(graph, key, value) for key, value in values.items()}
    try:
        await editor.aupdate_state(before.config, Command(update=update, goto=_next(before, tasks)), as_node=EDITOR)
    except Exception as error:  # whatever a channel or the serializer raises at a value
        keys = ", ".join(values)
        raise UsageError(
            f"The state cannot hold this edit of {keys} ({type(error).__name__}). Nothing was made."
        ) from error
    return kept.checkpoints[-1]


def _next(before: CheckpointTuple, tasks: Sequence[PregelTask]) -> list[Any]:
    """Return what a Command goes to so that the same tasks are next."""
    sent = before.checkpoint["channel_values"].get(SENDS, [])
    return [*sent, *dict.fromkeys(task.name for task in tasks if task.path[0] == "__pregel_pull")]


def _replacing(graph: Graph, key: str, value: Any) -> Any:
    reduced = isinstance(graph.builder.channels[key], BinaryOperatorAggregate | DeltaChannel)
    return Overwrite(value) if reduced else value


class _Kept(BaseCheckpointSaver[str]):
    """Lets LangGraph read checkpoints, and keeps the ones that it would write.

    Args:
        saver: reads them.
    """

    def __init__(self, saver: CheckpointSaver) -> None:
        super().__init__(serde=saver.serde)
        self._saver = saver
        self.checkpoints: list[EditedCheckpoint] = []

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return await self._saver.aget_tuple(config)

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,  # noqa: ARG002 - LangGraph's signature
    ) -> RunnableConfig:
        described = json.dumps(get_checkpoint_metadata(config, metadata), ensure_ascii=False).encode("utf-8", "ignore")
        parent = str(config["configurable"]["checkpoint_id"])
        row = EditedCheckpoint(checkpoint["id"], parent, *self.serde.dumps_typed(checkpoint), described)
        self.serde.loads_typed((row.type, row.checkpoint))  # what cannot be read back is refused now, not in the run
        self.checkpoints.append(row)
        return {"configurable": {**config["configurable"], "checkpoint_id": checkpoint["id"]}}

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Keep nothing: the checkpoint has all values, and there is no step whose result these are."""

    def get_next_version(self, current: str | None, channel: None) -> str:
        return self._saver.get_next_version(current, channel)
