"""The scalper's decision: the expected move by hand, and every guard on its own."""

import math
from typing import Any

import pytest
from pydantic import ValidationError

from models.tape import TAPE_FEATURES
from strategies.scalper import Params, decide, inputs
from strategies.values import Intent, View

PARAMS = Params(
    continuation_5s=0.2,
    continuation_30s=0.5,
    flow_bps=3.0,
    book_bps=1.0,
    cost_bps=2.0,
    min_edge_bps=0.5,
    full_edge_bps=4.0,
    min_depth=20_000.0,
)
# 0.2 x 5 + 0.5 x 10 + 3 x 0.5 + 1 x 0.5 = 8 bps; less 2 x 2 and a spread of 1: 3 bps of edge
UP = {
    "spread_bps": 1.0,
    "bid_depth": 30_000.0,
    "ask_depth": 10_000.0,
    "book_imbalance": 0.5,
    "trade_imbalance_5s": 0.5,
    "return_5s": 0.0005,
    "return_30s": 0.0010,
    "quote_age_ms": 50.0,
    "feed_latency_ms": 5.0,
}
MIRRORED = ("book_imbalance", "trade_imbalance_5s", "return_5s", "return_30s")
DOWN = UP | {name: -UP[name] for name in MIRRORED} | {"bid_depth": 10_000.0, "ask_depth": 30_000.0}


def view(features: dict[str, float], *, side: int = 0, allow_short: bool = True) -> View:
    return View(1, 60_000.0, math.nan, side, allow_short, features=features)


def ask(params: Params = PARAMS, **changes: float) -> Intent | None:
    return decide(view(UP | changes), params)


def test_the_edge_is_the_expected_move_less_two_costs_and_the_spread() -> None:
    intent = ask()
    assert intent is not None
    assert (intent.side, intent.reasons) == (1, ("book_bid", "flow_buy", "with_move"))
    assert intent.confidence == pytest.approx(3.0 / 4.0, abs=1e-12)


def test_short_is_the_mirror_image() -> None:
    intent = decide(view(DOWN), PARAMS)
    assert intent is not None
    assert (intent.side, intent.reasons) == (-1, ("book_ask", "flow_sell", "with_move"))
    assert intent.confidence == pytest.approx(3.0 / 4.0, abs=1e-12)


def test_confidence_is_full_at_the_full_edge_and_never_more() -> None:
    assert ask(return_30s=0.0012).confidence == pytest.approx(1.0, abs=1e-12)
    assert ask(return_30s=0.01).confidence == 1.0


def test_too_little_edge_is_no_trade() -> None:
    assert ask(return_30s=0.00051) is not None  # 0.55 bps
    assert ask(return_30s=0.00049) is None  # 0.45 bps
    assert ask(PARAMS.model_copy(update={"cost_bps": 3.3})) is None  # 0.4 bps
    assert ask(PARAMS.model_copy(update={"cost_bps": 3.2})) is not None  # 0.6 bps


@pytest.mark.parametrize(
    ("name", "fine", "too_much"),
    [
        ("spread_bps", 1.0, 1.01),
        ("quote_age_ms", 1_000.0, 1_001.0),
        ("feed_latency_ms", 100.0, 101.0),
        ("bid_depth", 20_000.0, 19_999.0),  # a long is sold to the bid
        ("book_imbalance", 0.1, 0.09),
        ("trade_imbalance_5s", 0.1, 0.09),
    ],
)
def test_each_guard_holds_on_its_own(name: str, fine: float, too_much: float) -> None:
    assert ask(**{name: fine}) is not None
    assert ask(**{name: too_much}) is None


def test_the_side_one_comes_in_by_may_be_thin() -> None:
    assert ask(ask_depth=0.0) is not None
    assert decide(view(DOWN | {"bid_depth": 0.0}), PARAMS) is not None
    assert decide(view(DOWN | {"ask_depth": 19_999.0}), PARAMS) is None


def test_a_negative_continuation_trades_against_the_move() -> None:
    params = PARAMS.model_copy(update={"continuation_5s": 0.0, "continuation_30s": -0.8})
    intent = decide(view(UP | {"return_30s": -0.0010}), params)  # 8 + 1.5 + 0.5 = 10 bps up
    assert intent is not None
    assert (intent.side, intent.reasons[-1]) == (1, "against_move")


@pytest.mark.parametrize("name", sorted(UP))
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_feature_that_is_no_number_is_no_opinion(name: str, value: float) -> None:
    assert ask(**{name: value}) is None


@pytest.mark.parametrize("name", sorted(UP))
def test_a_feature_that_is_missing_is_no_opinion(name: str) -> None:
    assert decide(view({key: value for key, value in UP.items() if key != name}), PARAMS) is None


def test_where_shorting_is_forbidden_it_only_leaves_a_long() -> None:
    assert decide(view(DOWN, allow_short=False), PARAMS) is None
    leaving = decide(view(DOWN, allow_short=False, side=1), PARAMS)
    assert leaving is not None
    assert leaving.side == -1


def test_it_asks_for_what_it_reads_and_the_tape_has_all_of_it() -> None:
    assert set(inputs(PARAMS).features) == set(UP)
    assert set(UP) <= set(TAPE_FEATURES)
    assert not inputs(PARAMS).regime


@pytest.mark.parametrize(
    "wrong",
    [
        {"full_edge_bps": 0.5},
        {"min_flow_imbalance": 1.1},
        {"max_spread_bps": 0.0},
        {"cost_bps": -1.0},
        {"flow_bps": math.nan},
    ],
)
def test_parameters_without_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Params(**wrong)
