"""How often the garbage collector looks while workers are at work."""

import gc
from collections.abc import Iterator

import pytest

from loom.runner.garbage import CollectorPace

OF_PYTHON = (700, 10, 10)


@pytest.fixture(autouse=True)
def thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(*OF_PYTHON)
    yield
    gc.set_threshold(*before)


def test_it_looks_less_often_until_the_last_worker_stops() -> None:
    first, second = CollectorPace(50_000), CollectorPace(50_000)
    first.start()
    assert gc.get_threshold() == (50_000, 10, 10)
    second.start()
    first.stop()
    first.stop()
    assert gc.get_threshold() == (50_000, 10, 10)
    second.stop()
    assert gc.get_threshold() == OF_PYTHON


def test_it_is_left_alone_when_the_setting_says_so() -> None:
    pace = CollectorPace(0)
    pace.start()
    assert gc.get_threshold() == OF_PYTHON
    pace.stop()
    assert gc.get_threshold() == OF_PYTHON


@pytest.mark.parametrize("own", [(0, 10, 10), (100_000, 5, 5)])
def test_an_application_that_wants_it_to_look_even_less_has_its_way(
    own: tuple[int, int, int],
) -> None:
    gc.set_threshold(*own)
    pace = CollectorPace(50_000)
    pace.start()
    assert gc.get_threshold() == own
    pace.stop()
    assert gc.get_threshold() == own


def test_what_is_set_meanwhile_stays() -> None:
    pace = CollectorPace(50_000)
    pace.start()
    gc.set_threshold(1_000, 10, 10)
    pace.stop()
    assert gc.get_threshold() == (1_000, 10, 10)
