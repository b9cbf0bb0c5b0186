import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.risk import assess, floor_to_step
from strategies.values import Account, Approved, InstrumentRules, Intent, Limits, Refused

RULES = InstrumentRules(
    tick_size=0.1, step_size=0.001, min_quantity=0.001, max_quantity=1000.0, min_notional=100.0
)
LIMITS = Limits(
    method="risk",
    risk_per_trade=0.01,
    fraction=0.1,
    confidence_weighted=False,
    max_position=1.0,
    max_leverage=3.0,
    max_notional=None,
    liquidation_buffer=0.0,
    entry_cost=0.0006,
    exit_cost=0.0006,
)
ACCOUNT = Account(equity=10_000.0, free_margin=10_000.0, leverage=5.0)
LONG = Intent(1, 1.0, ("test",))


def size(intent=LONG, *, price=50_000.0, stop=0.02, target=0.04, account=ACCOUNT, limits=LIMITS, rules=RULES):
    return assess(
        intent,
        price=price,
        stop_distance=stop,
        target_distance=target,
        account=account,
        limits=limits,
        rules=rules,
    )


def test_the_size_loses_the_risk_at_the_stop_costs_included():
    # 1 % of 10,000 = 100 at risk; a unit loses 50,000 x (2 % + 0.12 %) = 1,060 -> 0.0943, floored
    approved = size()
    assert isinstance(approved, Approved)
    assert approved.quantity == 0.094
    assert approved.risk_amount == pytest.approx(0.094 * 1060.0)
    assert approved.bound_by == "risk"


def test_confidence_scales_the_wanted_size():
    approved = size(Intent(1, 0.5, ()), limits=LIMITS._replace(confidence_weighted=True))
    assert approved.quantity == 0.047


def test_fraction_sizing_takes_a_share_of_equity():
    # 10 % of 10,000 at 50,000 is 0.02
    assert size(limits=LIMITS._replace(method="fraction")).quantity == 0.02


@pytest.mark.parametrize(
    ("limits", "account", "rules", "bound_by", "quantity"),
    [
        (LIMITS._replace(max_position=0.05), ACCOUNT, RULES, "max_position", 0.01),
        (LIMITS._replace(max_notional=1_000.0), ACCOUNT, RULES, "max_notional", 0.02),
        (LIMITS._replace(max_leverage=0.1), ACCOUNT, RULES, "max_leverage", 0.02),
        (LIMITS, ACCOUNT, RULES._replace(max_quantity=0.005), "max_quantity", 0.005),
        # 200 free at the venue's 5x, entry cost on 5x: 1,000 / 50,000 / 1.003 = 0.01994
        (LIMITS, ACCOUNT._replace(free_margin=200.0), RULES, "free_margin", 0.019),
        # 20 % of the equity of 10,000 stays free: 2,300 - 2,000 = 300 usable -> 1,500 / 50,000 / 1.003
        (
            LIMITS._replace(liquidation_buffer=0.2),
            ACCOUNT._replace(free_margin=2_300.0),
            RULES,
            "free_margin",
            0.029,
        ),
    ],
)
def test_the_tightest_cap_fixes_the_size_and_is_named(limits, account, rules, bound_by, quantity):
    approved = size(limits=limits, account=account, rules=rules)
    assert isinstance(approved, Approved)
    assert (approved.bound_by, approved.quantity) == (bound_by, quantity)


def test_a_size_under_the_minimum_notional_is_refused_with_the_numbers():
    assert size(account=Account(100.0, 100.0, 5.0)) == Refused(
        "min_quantity", 0.001, pytest.approx(0.000943, abs=1e-6)
    )
    refused = size(account=Account(200.0, 200.0, 5.0))
    assert refused == Refused("min_notional", 100.0, pytest.approx(50.0))


def test_no_free_margin_means_no_entry():
    refused = size(account=ACCOUNT._replace(free_margin=0.0))
    assert isinstance(refused, Refused)
    assert refused.check == "min_quantity"


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"price": math.nan}, "price"),
        ({"price": 0.0}, "price"),
        ({"price": math.inf}, "price"),
        ({"intent": Intent(1, math.nan, ())}, "confidence"),
        ({"intent": Intent(0, 0.5, ())}, "side"),
        ({"intent": Intent(1, 1.5, ())}, "confidence"),
        ({"account": ACCOUNT._replace(equity=math.nan)}, "equity"),
        ({"account": ACCOUNT._replace(equity=-5.0)}, "equity"),
        ({"stop": 0.0}, "stop_distance"),
        ({"stop": math.nan}, "stop_distance"),
        ({"stop": 1.0}, "stop_distance"),
        ({"target": 1e-9}, "target_distance"),
        ({"intent": Intent(-1, 1.0, ()), "target": 1.2}, "target_distance"),
    ],
)
def test_values_that_cannot_be_traded_on_are_refused(change, check):
    refused = size(change.pop("intent", LONG), **change)
    assert isinstance(refused, Refused)
    assert refused.check == check


def test_an_intents_own_stop_overrides_the_run_files():
    approved = size(Intent(1, 1.0, (), stop_distance=0.01, target_distance=0.03))
    assert (approved.stop_distance, approved.target_distance) == (0.01, 0.03)
    assert approved.quantity == 0.178  # 100 / (50,000 x 1.12 %) = 0.17857


@given(
    equity=st.floats(10, 1e7),
    free=st.floats(0, 1e7),
    price=st.floats(1, 200_000),
    stop=st.floats(0.0005, 0.5),
    confidence=st.floats(0, 1),
    leverage=st.floats(1, 125),
    step=st.sampled_from([1.0, 0.1, 0.01, 0.001, 0.00001]),
)
def test_an_approved_size_never_breaks_a_limit(equity, free, price, stop, confidence, leverage, step):
    limits = LIMITS._replace(confidence_weighted=True, max_position=2.0, liquidation_buffer=0.1)
    rules = InstrumentRules(
        tick_size=1e-4, step_size=step, min_quantity=step, max_quantity=1e4, min_notional=5.0
    )
    verdict = size(
        Intent(1, confidence, ()),
        price=price,
        stop=stop,
        account=Account(equity, free, leverage),
        limits=limits,
        rules=rules,
    )
    if isinstance(verdict, Refused):
        return
    slack = 1 + 1e-6
    notional = verdict.quantity * price
    assert verdict.quantity <= 1e4 * slack
    assert notional >= 5.0
    assert notional <= equity * 2.0 * slack
    assert notional <= equity * min(leverage, 3.0) * slack
    assert verdict.risk_amount <= equity * 0.01 * confidence * slack
    margin_and_fee = notional / leverage + notional * limits.entry_cost
    assert margin_and_fee <= (free - 0.1 * equity) * slack
    steps = verdict.quantity / step
    assert steps == pytest.approx(round(steps), abs=1e-6)


@given(st.integers(0, 10**9), st.sampled_from([1.0, 0.5, 0.1, 0.01, 0.001, 0.00001]))
def test_a_multiple_of_the_step_is_kept_and_less_than_one_more_is_cut(steps, step):
    exact = steps * step
    assert floor_to_step(exact, step) == pytest.approx(exact, rel=1e-12)
    assert floor_to_step(exact + 0.5 * step, step) == pytest.approx(exact, rel=1e-12)
