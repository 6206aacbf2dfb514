"""The state proxy: a workflow's durable variables.

Every change is an event. What is read back is what history holds, decoded afresh for each reader,
so that changing a list in place changes nothing, live and on replay alike.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    NotRequired,
    Required,
    TypedDict,
    TypeGuard,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from loom.authoring.immutable import private_copy
from loom.authoring.runtime import Runtime
from loom.errors import PayloadError
from loom.history.events import StateSet, StateUpdate

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo


class StateSchema:
    """The declared type of a state, as its fields.

    A ``TypedDict``, dataclass or pydantic model has named fields with types and perhaps defaults;
    anything else is a free-form ``dict``.
    """

    def __init__(self, declared: Any) -> None:
        self.declared = declared
        self.name = getattr(declared, "__name__", "the state")
        self.fields = _fields(declared)
        self.partial_type = _partial(declared, self.fields)
        self.is_model = self.fields is not None and not is_typeddict(declared)
        self._default_of = _defaults(declared)

    @property
    def result_type(self) -> Any:
        """The type of a finished workflow's state: whole models, perhaps incomplete dicts."""
        return self.declared if self.is_model else self.partial_type

    def type_of(self, key: str) -> Any:
        """The declared type of a key. Raises ``PayloadError`` when there is no such key."""
        if not isinstance(key, str):
            raise PayloadError(f"A state's keys are strings, not {type(key).__name__}.")
        if not key.isprintable():
            raise PayloadError(f"The state's key {key!r} holds unprintable characters.")
        if self.fields is None:
            return Any
        try:
            return self.fields[key]
        except KeyError:
            raise PayloadError(
                f"{self.name} has no field {key!r}; it has: {', '.join(self.fields) or 'none'}."
            ) from None

    def defaults(self) -> dict[str, Any]:
        """The values of those fields that have one before anything is set."""
        return {name: default() for name, default in self._default_of.items()}

    def build(self, values: Mapping[str, Any]) -> Any:
        """The state as its declared type, from values that already have the fields' types.

        Raises ``PayloadError`` when a model misses a field.
        """
        if not self.is_model:
            return dict(values)
        try:
            if _is_pydantic(self.declared):
                return self.declared.model_validate(dict(values), by_name=True)
            return self.declared(**values)
        except (TypeError, ValueError) as error:
            raise PayloadError(f"{self.name} is not complete: {error}") from error

    def take_apart(self, state: Any) -> dict[str, Any]:
        """The inverse of ``build``. Raises ``PayloadError`` for what cannot have come from it."""
        if not isinstance(state, self.declared if self.is_model else Mapping):
            raise PayloadError(
                f"A function that updates the state returns {self.name} as a whole, or None after "
                f"changing it in place; it returned {type(state).__name__}."
            )
        if not self.is_model:
            return dict(state)
        return {name: getattr(state, name) for name in self.fields or ()}


class WorkflowState[StateT]:
    """A workflow's state, as ``ctx.state``.

    Reading: ``state["paid"]``, ``state.get("paid")``, ``"paid" in state``, and for dataclasses and
    models ``state.paid``. Writing: ``await state.set("paid", True)``, ``await state.update(fn)``,
    and several writes as one event inside ``async with state.batch():``.
    """

    def __init__(self, schema: StateSchema, runtime: Runtime) -> None:
        self._schema = schema
        self._runtime = runtime
        self._values = schema.defaults()
        self._batches: dict[asyncio.Task[Any] | None, dict[str, Any]] = {}

    # --- reading ---

    def __getitem__(self, key: str) -> Any:
        return private_copy(self._current()[key])

    def get(self, key: str, default: Any = None) -> Any:
        return private_copy(self._current().get(key, default))

    def __contains__(self, key: object) -> bool:
        return key in self._current()

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._current()))

    def __len__(self) -> int:
        return len(self._current())

    def __getattr__(self, name: str) -> Any:
        # Only names that are not attributes of the proxy itself come here.
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"The state has no {name!r} yet.") from None

    def __repr__(self) -> str:
        return f"<state {self._current()!r}>"

    def snapshot(self) -> StateT:
        """A copy of the whole state as its declared type.

        Raises ``PayloadError`` when a dataclass or model still misses a field.
        """
        return cast(StateT, self._schema.build(private_copy(self._current())))

    # --- writing ---

    async def set(self, key: str, value: Any) -> None:
        """Set one key. Raises ``PayloadError`` when the value does not fit its declared type."""
        declared = self._schema.type_of(key)
        payload = self._runtime.encode(value, declared, "The value of ctx.state", key)
        batch = self._batch
        if batch is not None:
            batch[key] = self._runtime.decode(payload, declared)
            return
        recorded = self._runtime.record_state(StateSet(key, payload))
        self._values[key] = self._runtime.decode(recorded.payload, declared)

    async def update(self, change: Callable[[StateT], StateT | None]) -> None:
        """Change several keys at once with a function of the whole state.

        The function gets a copy, and either changes it in place or returns the new state. What
        differs afterwards is recorded as one event. Raises ``PayloadError`` as ``set`` does.
        """
        state = self.snapshot()
        changed = change(state)
        after = self._schema.take_apart(state if changed is None else changed)
        before = self._current()
        removed = [key for key in before if key not in after]
        changes = {k: v for k, v in after.items() if k not in before or _differs(before[k], v)}
        for key in changes:
            self._schema.type_of(key)
        batch = self._batch
        if batch is not None and removed:
            raise PayloadError("Keys cannot be removed from the state inside of a batch.")
        if batch is not None:
            batch.update(private_copy(changes))
        elif changes or removed:
            self._record(changes, removed)

    @asynccontextmanager
    async def batch(self) -> AsyncIterator[None]:
        """Collect the writes of the block into one event; none of them, if the block raises.

        The batch is the task's own: what other tasks write meanwhile is no part of it.
        """
        task = asyncio.current_task()
        if task in self._batches:
            raise PayloadError("A batch of state changes cannot be opened inside another.")
        batch = self._batches[task] = {}
        try:
            yield
            if batch:
                self._record(batch, [])
        finally:
            del self._batches[task]

    def result(self) -> bytes:
        """The whole state as the payload that a finished workflow leaves behind."""
        return self._runtime.encode(
            self._schema.build(self._values), self._schema.result_type, "The final ctx.state"
        )

    def carried(self) -> bytes | None:
        """The state as it stands, for the run that continues this one; ``None`` if it is empty."""
        if not self._values:
            return None
        return self._runtime.encode(dict(self._values), self._schema.partial_type)

    def take_over(self, payload: bytes) -> None:
        """Begin with what another run has left. Raises ``PayloadError`` when it does not fit."""
        self._values |= self._runtime.decode(payload, self._schema.partial_type)

    @property
    def _batch(self) -> dict[str, Any] | None:
        return self._batches.get(asyncio.current_task()) if self._batches else None

    def _current(self) -> Mapping[str, Any]:
        batch = self._batch
        return {**self._values, **batch} if batch else self._values

    def _record(self, changes: Mapping[str, Any], removed: list[str]) -> None:
        partial_type = self._schema.partial_type
        payload = self._runtime.encode(dict(changes), partial_type, "The change of ctx.state")
        recorded = self._runtime.record_state(StateUpdate(tuple(removed), payload))
        self._values.update(self._runtime.decode(recorded.payload, partial_type))
        for key in recorded.removed:
            self._values.pop(key, None)


def _differs(before: Any, after: Any) -> bool:
    # True equals 1, and yet it is another value to keep.
    return type(before) is not type(after) or bool(before != after)


def _fields(declared: Any) -> dict[str, Any] | None:
    if is_typeddict(declared):
        hints = get_type_hints(declared, include_extras=True)
        return {name: _unqualified(hint) for name, hint in hints.items()}
    if dataclasses.is_dataclass(declared):
        hints = get_type_hints(declared, include_extras=True)
        return {field.name: hints[field.name] for field in dataclasses.fields(declared)}
    if _is_pydantic(declared):
        return {name: _constrained(field) for name, field in declared.model_fields.items()}
    return None


def _is_pydantic(declared: Any) -> TypeGuard[type[BaseModel]]:
    # Told by name: pydantic takes longer to import than all that a workflow is written with.
    return isinstance(declared, type) and any(
        (base.__module__, base.__qualname__) == ("pydantic.main", "BaseModel")
        for base in declared.__mro__
    )


def _unqualified(hint: Any) -> Any:
    """Without ``Required`` and ``NotRequired``."""
    while get_origin(hint) in _QUALIFIERS:
        (hint,) = get_args(hint)
    return hint


_QUALIFIERS = {Required, NotRequired}


def _constrained(field: FieldInfo) -> Any:
    """A model field's type with its constraints, such as ``gt=0``."""
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def _partial(declared: Any, fields: Mapping[str, Any] | None) -> Any:
    """A ``TypedDict`` of the same fields, none of them required."""
    if fields is None:
        return dict[str, Any]
    optional: Any = NotRequired
    typed_dict = cast(Any, TypedDict)(
        declared.__name__, {name: optional[hint] for name, hint in fields.items()}
    )
    typed_dict.__module__ = declared.__module__
    return typed_dict


def _defaults(declared: Any) -> dict[str, Callable[[], Any]]:
    """What makes the values of those fields that have one before anything is set."""
    if _is_pydantic(declared):
        return {
            name: partial(field.get_default, call_default_factory=True, validated_data={})
            for name, field in declared.model_fields.items()
            if not field.is_required()
        }
    if dataclasses.is_dataclass(declared):
        return dict(_dataclass_defaults(declared))
    return {}


def _dataclass_defaults(declared: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    for field in dataclasses.fields(declared):
        if field.default is not dataclasses.MISSING:
            yield field.name, partial(_same, field.default)
        elif field.default_factory is not dataclasses.MISSING:
            yield field.name, field.default_factory


def _same[T](value: T) -> T:
    return value
