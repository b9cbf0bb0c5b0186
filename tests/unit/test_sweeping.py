"""What the sweeper makes of answers that are none, and of strategies that leave meanwhile."""

from concurrent.futures import Future
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from live.sweeper import Sweeper


def _sweeper() -> Any:
    sweeper: Any = Sweeper(lambda: [], SimpleNamespace())  # type: ignore[arg-type]
    sweeper.failure_policy = SimpleNamespace(failed=lambda *_: None)
    sweeper._now = lambda: 0
    sweeper._due = 1
    sweeper._is_stuck = lambda _: False
    sweeper._compare = lambda _: None
    sweeper._known_ids = set
    return sweeper


def _answered(result: Any) -> "Future[Any]":
    future: Future[Any] = Future()
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
    return future


def test_an_answer_that_fails_is_told_once_and_the_venue_is_asked_again() -> None:
    sweeper = _sweeper()
    sweeper._asked = _answered(ValueError("no number"))
    with pytest.raises(ValueError, match="no number"):
        sweeper._on_look(None)
    sweeper._on_look(None)
    assert sweeper._asked is None


def test_an_order_of_a_strategy_that_left_meanwhile_is_left_alone() -> None:
    sweeper = _sweeper()
    order = SimpleNamespace(symbol="BTCUSDT", client_id="00-mk3x1q2w-2S0", number=1, is_algo=True)
    sweeper._asked = _answered((([order]), {"BTCUSDT": Decimal(1)}, {}))
    sweeper._on_look(None)
    assert sweeper._due > 1  # it is looked for again
