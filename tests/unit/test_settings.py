"""What an application is made of, when it is given or set wrongly."""

from __future__ import annotations

import math
from typing import Any

import pytest

import loom


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {"lease_seconds": -1},
            "(LOOM_LEASE_SECONDS) is -1, and must be a number from 0.5 to 3,600",
        ),
        ({"lease_seconds": "soon"}, "is 'soon', and must be a number from 0.5"),
        ({"poll_seconds": 0}, "is 0, and must be a number above 0, to 3,600"),
        ({"poll_seconds": math.nan}, "(LOOM_POLL_SECONDS) is nan"),
        ({"stall_seconds": math.inf}, "(LOOM_STALL_SECONDS) is inf"),
        ({"concurrency": 2**63}, "must be a whole number from 1 to 1,000,000"),
        ({"threads": 1.5}, "(LOOM_THREADS) is 1.5, and must be a whole number from 1 to 1,000"),
        ({"guards": "no"}, "is 'no', and must be one of strict, error, warn, off"),
        ({"dsn": 5}, "dsn (LOOM_DSN) is 5, and must be text"),
        ({"laese_seconds": 5}, "there is no setting 'laese_seconds'; there are concurrency, dsn"),
    ],
)
def test_a_setting_that_cannot_be_is_told_with_what_it_may_be(
    given: dict[str, Any], told: str
) -> None:
    for make in (loom.Settings, loom.Settings.load):
        with pytest.raises(loom.ConfigurationError) as refusal:
            make(**given)
        assert told in str(refusal.value)


def test_every_mistake_is_told_at_once() -> None:
    with pytest.raises(loom.ConfigurationError, match=r"concurrency .*; threads .*"):
        loom.Settings(concurrency=0, threads=0)


def test_a_variable_is_told_as_a_setting_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOM_LEASE_SECONDS", "0.1")
    with pytest.raises(loom.ConfigurationError, match=r"\(LOOM_LEASE_SECONDS\) is '0.1', and must"):
        loom.Settings()
    monkeypatch.setenv("LOOM_LAESE_SECONDS", "1")
    with pytest.raises(loom.ConfigurationError, match="unknown variable LOOM_LAESE_SECONDS"):
        loom.Settings()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"dsn": 5}, "^dsn=5 is no text"),
        ({"dsn": b"sqlite://"}, "^dsn=b'sqlite://' is no text"),
        ({"settings": {"threads": 1}}, "^settings=.* are none"),
        ({"codecs": 5}, "^codecs=5 must be a list"),
        ({"codecs": [object()]}, "loom.PayloadCodec"),
        ({"codecs": "gzip"}, "^codecs='gzip' must be a list"),
    ],
)
def test_an_application_that_cannot_be_is_refused_when_it_is_made(
    given: dict[str, Any], told: str
) -> None:
    with pytest.raises(loom.ConfigurationError, match=told):
        loom.Loom(**given)


async def test_an_empty_dsn_is_a_mistake_and_no_default() -> None:
    with pytest.raises(loom.UnsupportedStoreError):
        async with loom.Loom(""):
            pass
