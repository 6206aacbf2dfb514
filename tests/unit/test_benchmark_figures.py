"""The arithmetic behind the benchmarks."""

from __future__ import annotations

import random

import pytest

from benchmarks.figures import Spread, percentile, percentiles, ratios, spread


def test_a_spread_is_the_median_and_the_extremes() -> None:
    assert spread([3.0, 1.0, 8.0]) == Spread(median=3.0, min=1.0, max=8.0)
    assert spread([1.0, 2.0]) == Spread(median=1.5, min=1.0, max=2.0)


def test_percentiles_are_values_that_were_seen_and_need_no_order() -> None:
    values = [float(value) for value in range(1, 101)]
    random.Random(1).shuffle(values)
    assert percentiles(values) == {"p50": 50.0, "p95": 95.0, "p99": 99.0}


@pytest.mark.parametrize("percent", [0, 1, 50, 99, 100])
def test_of_one_value_every_percentile_is_that_value(percent: float) -> None:
    assert percentile([7.0], percent) == 7.0


def test_the_extreme_percentiles_are_the_extremes() -> None:
    assert percentile([1.0, 2.0, 3.0], 0) == 1.0
    assert percentile([1.0, 2.0, 3.0], 100) == 3.0
    assert percentile([1.0, 2.0, 3.0], 34) == 2.0


def test_ratios_are_taken_pair_by_pair() -> None:
    # The machine was ten times slower in the second repeat: the ratio does not notice.
    assert ratios([200.0, 20.0, 400.0], [100.0, 10.0, 100.0]) == Spread(2.0, 2.0, 4.0)


def test_a_ratio_needs_both_partners() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratios([1.0, 2.0], [1.0])


def test_nothing_has_no_figures() -> None:
    with pytest.raises(ValueError, match="no values"):
        spread([])
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)
