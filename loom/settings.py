"""Settings: every knob of an application, from ``LOOM_*`` in the environment or from code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final, Literal, Self, get_args

from pydantic import Field, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from loom.errors import ConfigurationError
from loom.given import MOST, shown

DEFAULT_DSN: Final = "sqlite:///workflows.db"

_PREFIX: Final = "LOOM_"
_LONGEST: Final = 1_000_000_000
"""Seconds: more than thirty years."""

_NOT_SETTINGS: Final = "LOOM_TEST_"
"""What the test suite reads; no business of an application."""


class Settings(BaseSettings):
    """Settings of an application. Durations are in seconds.

    Each may be given as ``LOOM_`` and its name in the environment, for example
    ``LOOM_LEASE_SECONDS=5``.

    Raises ``ConfigurationError`` for an unknown or malformed one, and says which, and what it may
    be.
    """

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, extra="forbid", frozen=True, allow_inf_nan=False
    )

    dsn: str = Field(DEFAULT_DSN, description="Where the runs are stored.")
    concurrency: int = Field(
        1_000, ge=1, le=MOST, description="How many `async` activities a worker runs at a time."
    )
    threads: int = Field(
        50, ge=1, le=1_000, description="How many plain-function activities it runs at a time."
    )
    processes: int = Field(
        4, ge=1, le=1_000, description='How many activities with `executor="process"` it runs.'
    )
    lease_seconds: float = Field(
        10.0,
        ge=0.5,
        le=3600,
        description="How long others wait before they take over what a silent worker holds.",
    )
    stall_seconds: float = Field(
        30.0,
        ge=1,
        le=_LONGEST,
        description="How long a worker's event loop may be stuck before its leases are given up.",
    )
    poll_seconds: float = Field(
        1.0, gt=0, le=3600, description="How often, at the least, an idle worker looks for work."
    )
    shutdown_grace_seconds: float = Field(
        0.5,
        ge=0,
        le=_LONGEST,
        description="How long activities may go on when a worker is asked to stop.",
    )
    max_owned_runs: int = Field(
        1_000, ge=1, le=MOST, description="How many runs a worker works on at a time."
    )
    max_cached_runs: int = Field(
        1_000, ge=0, le=MOST, description="How many idle runs a worker keeps in memory."
    )
    max_lost_attempts: int = Field(
        5, ge=0, le=MOST, description="How many workers may die over one activity before it fails."
    )
    max_lost_owners: int = Field(
        3,
        ge=3,
        le=MOST,
        description="How many workers in a row may die, or hang, with one run before it is set "
        "apart.",
    )
    guards: Literal["strict", "error", "warn", "off"] = Field(
        "error",
        description="What is done about workflow code that would not replay: `error` blocks the "
        "run, `strict` also for what libraries do, `warn` only logs it, `off` does nothing.",
    )
    slow_turn_seconds: float = Field(
        2.0,
        ge=0,
        le=3600,
        description="How long workflow code may keep the event loop before it is reported with its "
        "stack; 0 turns that off.",
    )
    gc_threshold: int = Field(
        50_000,
        ge=0,
        description="How many more objects are made than freed before Python's garbage collector "
        "looks, while a worker is at work; 0 leaves the collector alone.",
    )

    @model_validator(mode="wrap")
    @classmethod
    def _in_our_words(cls, values: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        _refuse_unknown_variables(cls.model_fields)
        try:
            return validate(values)
        except ValidationError as error:
            told = [_explained(cls, item) for item in error.errors(include_url=False)]
            raise ConfigurationError(f"Settings: {'; '.join(told)}.") from error

    @classmethod
    def load(cls, **given: Any) -> Self:
        """Settings from the environment, overridden by what is given. Raises what making them
        does."""
        return cls(**given)


def _variable(name: str) -> str:
    return f"{_PREFIX}{name}".upper()


def _refuse_unknown_variables(fields: Mapping[str, FieldInfo]) -> None:
    known = {_variable(name) for name in fields}
    unknown = sorted(
        name
        for name in os.environ
        if name.upper().startswith(_PREFIX)
        and not name.upper().startswith(_NOT_SETTINGS)
        and name.upper() not in known
    )
    if unknown:
        raise ConfigurationError(
            f"Settings: unknown variable {', '.join(unknown)} in the environment; known are "
            f"{', '.join(sorted(known))}."
        )


def _explained(settings: type[Settings], item: ErrorDetails) -> str:
    """One mistake: which setting, how it is given, and what it may be."""
    name, fields = str(item["loc"][0]), settings.model_fields
    if name not in fields:
        return f"there is no setting {name!r}; there are {', '.join(sorted(fields))}"
    return f"{name} ({_variable(name)}) is {shown(item['input'])}, and {_wanted(fields[name])}"


def _wanted(field: FieldInfo) -> str:
    """What a setting may be."""
    words = get_args(field.annotation)
    if words:
        return f"must be one of {', '.join(words)}"
    least, above, most = (_limit(field, name) for name in ("ge", "gt", "le"))
    if most is None:
        return "must be text"
    kind = "a whole number" if field.annotation is int else "a number"
    span = f"above {above:,}, to" if least is None else f"from {least:,} to"
    return f"must be {kind} {span} {most:,}"


def _limit(field: FieldInfo, name: str) -> float | None:
    return next((getattr(each, name) for each in field.metadata if hasattr(each, name)), None)
