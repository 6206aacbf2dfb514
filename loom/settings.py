"""Settings: every knob of an application, from ``LOOM_*`` in the environment or from code."""

from __future__ import annotations

import os
from typing import Any, Final, Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from loom.errors import ConfigurationError

DEFAULT_DSN: Final = "sqlite:///workflows.db"

_PREFIX: Final = "LOOM_"
_NOT_SETTINGS: Final = "LOOM_TEST_"
"""What the test suite reads; no business of an application."""


class Settings(BaseSettings):
    """Settings of an application. Durations are in seconds.

    Each may be given as ``LOOM_`` and its name in the environment, for example
    ``LOOM_LEASE_SECONDS=5``.
    """

    model_config = SettingsConfigDict(env_prefix=_PREFIX, extra="forbid", frozen=True)

    dsn: str = Field(DEFAULT_DSN, description="Where the runs are stored.")
    concurrency: int = Field(
        1_000, ge=1, description="How many `async` activities a worker runs at a time."
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
        description="How long a worker's event loop may be stuck before its leases are given up.",
    )
    poll_seconds: float = Field(
        1.0, gt=0, le=3600, description="How often, at the least, an idle worker looks for work."
    )
    shutdown_grace_seconds: float = Field(
        0.5, ge=0, description="How long activities may go on when a worker is asked to stop."
    )
    max_owned_runs: int = Field(
        1_000, ge=1, description="How many runs a worker works on at a time."
    )
    max_cached_runs: int = Field(
        1_000, ge=0, description="How many idle runs a worker keeps in memory."
    )
    max_lost_attempts: int = Field(
        5, ge=0, description="How many workers may die over one activity before it fails."
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

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_variables(cls, values: Any) -> Any:
        known = {f"{_PREFIX}{name}".upper() for name in cls.model_fields}
        unknown = sorted(
            name
            for name in os.environ
            if name.upper().startswith(_PREFIX)
            and not name.upper().startswith(_NOT_SETTINGS)
            and name.upper() not in known
        )
        if unknown:
            raise ValueError(
                f"unknown variable {', '.join(unknown)}; known are {', '.join(sorted(known))}"
            )
        return values

    @classmethod
    def load(cls, **given: Any) -> Self:
        """Settings from the environment, overridden by what is given.

        Raises ``ConfigurationError`` for an unknown or malformed one, and says which.
        """
        try:
            return cls(**given)
        except ValidationError as error:
            raise ConfigurationError(_explain(error)) from error


def _explain(error: ValidationError) -> str:
    lines = []
    for item in error.errors(include_url=False):
        name = ".".join(str(part) for part in item["loc"])
        subject = f"{_PREFIX}{name.upper()}={item['input']!r}: " if name else ""
        lines.append(f"{subject}{item['msg'].removeprefix('Value error, ')}")
    return "Settings: " + "; ".join(lines)
