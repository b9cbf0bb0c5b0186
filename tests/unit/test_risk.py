"""Every way to size and every cap, with numbers worked out by hand."""

import math

import pytest

from configs.trading import RegimeSizing
from models.regime import Regime
from strategies.risk import assess, assess_add
from strategies.values import (
    Account,
    Approved,
    Headroom,
    InstrumentRules,
    Intent,
    Limits,
    Refused,
)

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
FREELY = Headroom()


def size(
    intent=LONG,
    *,
    price=50_000.0,
    stop=0.02,
    target=0.04,
    account=ACCOUNT,
    limits=LIMITS,
    rules=RULES,
    headroom=FREELY,
    **seen,
):
    return assess(
        intent,
        price=price,
        stop_distance=stop,
        target_distance=target,
        account=account,
        limits=limits,
        rules=rules,
        headroom=headroom,
        **seen,
    )


# --- the wanted size ---


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


def volatility_limits(**changes):
    # bars of 15 minutes: 365 x 96 = 35,040 a year
    return LIMITS._replace(
        method="volatility", target_volatility=0.2, bars_per_year=35_040.0, max_position=2.0, **changes
    )


def test_volatility_sizing_holds_the_target_volatility_over_a_year():
    # 0.25 % a bar x sqrt(35,040) = 46.797 % a year; 20 / 46.797 of 10,000 = 4,273.7 -> / 50,000 = 0.08547
    approved = size(limits=volatility_limits(), volatility=0.0025)
    assert (approved.quantity, approved.bound_by) == (0.085, "volatility")


def test_twice_the_volatility_is_half_the_size():
    assert size(limits=volatility_limits(), volatility=0.005).quantity == 0.042  # 0.04274


@pytest.mark.parametrize("volatility", [0.0, -0.001, math.nan, math.inf])
def test_an_unknown_volatility_and_a_market_that_stands_still_are_refused(volatility):
    refused = size(limits=volatility_limits(), volatility=volatility)
    assert refused == Refused("volatility", 0.0, pytest.approx(volatility, nan_ok=True))


KELLY = LIMITS._replace(
    method="kelly", kelly_share=0.25, kelly_cap=0.05, max_risk_per_trade=0.05, max_position=3.0
)
FREE = {"entry_cost": 0.0, "exit_cost": 0.0}


def test_kelly_without_costs_is_the_textbooks():
    # p = 0.4 at 4 % for 2 %: b = 2, f = 0.4 - 0.6 / 2 = 0.1; a quarter risks 2.5 % = 250, at 1,000 a unit
    approved = size(LONG._replace(probability=0.4), limits=KELLY._replace(**FREE))
    assert (approved.quantity, approved.bound_by) == (0.25, "kelly")
    assert approved.risk_amount == pytest.approx(250.0)


def test_costs_shrink_the_odds_that_kelly_bets_on():
    # b = (4 - 0.12) / (2 + 0.12) = 3.88 / 2.12; f = 0.4 - 0.6 x 2.12 / 3.88 = 0.072165
    # a quarter: 180.41 at 1,060 a unit = 0.17020
    assert size(LONG._replace(probability=0.4), limits=KELLY).quantity == 0.170


def test_kelly_is_capped():
    # p = 0.6, b = 2: f = 0.4, a quarter is 10 % of equity; the cap of 5 % risks 500 at 1,000 a unit
    limits = KELLY._replace(**FREE)
    assert size(LONG._replace(probability=0.6), limits=limits).quantity == 0.5
    # the cap comes before the other factors: half the confidence is half the capped bet
    unsure = LONG._replace(probability=0.6, confidence=0.5)
    assert size(unsure, limits=limits._replace(confidence_weighted=True)).quantity == 0.25
    # and a mode that enlarges sizes does not lift it over the cap
    lifted = size(
        LONG._replace(probability=0.6),
        limits=limits._replace(max_risk_per_trade=0.5),
        headroom=Headroom(multiplier=1.3),
    )
    assert (lifted.quantity, lifted.bound_by) == (0.5, "kelly_cap")


def test_kelly_bets_nothing_without_an_edge_and_says_the_number():
    # p = 1/3 at b = 2 is a fair game: f = 0; p = 0.3: f = 0.3 - 0.35 = -0.05
    limits = KELLY._replace(**FREE)
    assert size(LONG._replace(probability=0.3), limits=limits) == Refused("kelly", 0.0, pytest.approx(-0.05))
    fair = size(LONG._replace(probability=0.5), target=0.02, limits=limits)
    assert fair == Refused("kelly", 0.0, 0.0)


@pytest.mark.parametrize(
    ("probability", "target", "refused"),
    [
        (math.nan, 0.04, Refused("probability", 1.0, pytest.approx(math.nan, nan_ok=True))),
        (1.2, 0.04, Refused("probability", 1.0, 1.2)),
        (0.6, None, Refused("kelly_target", 0.0012, pytest.approx(math.nan, nan_ok=True))),
        # the target does not even pay the costs
        (0.6, 0.001, Refused("kelly_target", 0.0012, 0.001)),
    ],
)
def test_kelly_needs_a_probability_and_a_target_beyond_the_costs(probability, target, refused):
    assert size(LONG._replace(probability=probability), target=target, limits=KELLY) == refused


# --- factors ---


REGIME = RegimeSizing(low_volatility=1.3, high_volatility=0.7, against_trend=0.5, ranging=0.8)


@pytest.mark.parametrize(
    ("regime", "side", "factor"),
    [
        (Regime(True, 1, 0, 9), 1, 1.0),
        (Regime(True, 1, 0, 9), -1, 0.5),
        (Regime(True, -1, 1, 9), 1, 0.35),  # against the trend and wild: 0.5 x 0.7
        (Regime(True, -1, -1, 9), -1, 1.3),
        (Regime(False, 0, 1, 9), 1, 0.56),  # ranging and wild: 0.8 x 0.7
    ],
)
def test_the_regime_scales_the_size(regime, side, factor):
    approved = size(Intent(side, 1.0, ()), limits=LIMITS._replace(regime=REGIME), regime=regime)
    assert approved.factors["regime"] == pytest.approx(factor)
    assert approved.quantity == pytest.approx(100.0 * factor / 1060.0, abs=0.001)


def test_a_regime_that_sizing_asks_for_and_nobody_knows_is_refused():
    assert size(limits=LIMITS._replace(regime=REGIME)) == Refused("regime_unknown", 1.0, 0.0)
    assert isinstance(size(regime=None), Approved)


def test_all_factors_multiply_and_are_recorded():
    # 100 / 1,060 = 0.094340 x 0.8 x 0.6 x 0.7 = 0.031698, at risk 33.60; the cluster leaves 21: 0.625 of it
    approved = size(
        Intent(1, 0.8, ()),
        limits=LIMITS._replace(confidence_weighted=True, regime=REGIME),
        regime=Regime(True, 1, 1, 9),
        headroom=Headroom(multiplier=0.6, risk_caps={"max_cluster_risk": 21.0}),
    )
    assert approved.factors == {
        "confidence": 0.8,
        "mode": 0.6,
        "regime": 0.7,
        "correlation": pytest.approx(0.625),
    }
    assert (approved.quantity, approved.bound_by) == (0.019, "max_cluster_risk")  # 21 / 1,060 = 0.01981


def test_factors_that_do_not_apply_are_one():
    assert size(Intent(1, 0.3, ())).factors == {
        "confidence": 1.0,
        "mode": 1.0,
        "regime": 1.0,
        "correlation": 1.0,
    }


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ({"headroom": Headroom(multiplier=0.0)}, Refused("mode", 0.0, 0.0)),
        ({"headroom": Headroom(multiplier=-1.0)}, Refused("mode", 0.0, -1.0)),
        (
            {
                "limits": LIMITS._replace(regime=RegimeSizing(against_trend=0.0)),
                "regime": Regime(True, -1, 0, 9),
            },
            Refused("regime", 0.0, 0.0),
        ),
        (
            {"intent": Intent(1, 0.0, ()), "limits": LIMITS._replace(confidence_weighted=True)},
            Refused("confidence", 0.0, 0.0),
        ),
    ],
)
def test_a_factor_of_nothing_refuses_under_its_name(change, refused):
    assert size(**change) == refused


# --- caps ---


@pytest.mark.parametrize("name", ["max_gross", "max_net", "max_side"])
def test_what_the_account_has_left_bounds_the_notional(name):
    approved = size(headroom=Headroom(notional_caps={name: 2_000.0}))
    assert (approved.bound_by, approved.quantity) == (name, 0.04)


def test_what_the_instrument_holds_counts_against_the_limits_of_one_position():
    # the limit of 10,000 a position less 9,500 held: 500 -> 0.01; of 200 at risk, 180 taken: 20 -> 0.018
    held = size(headroom=Headroom(held=9_500.0))
    assert (held.bound_by, held.quantity) == ("max_position", 0.01)
    at_risk = size(headroom=Headroom(held_risk=180.0))
    assert (at_risk.bound_by, at_risk.quantity) == ("max_risk_per_trade", 0.018)
    assert size(headroom=Headroom(held_risk=200.0)) == Refused("max_risk_per_trade", 200.0, 200.0)


@pytest.mark.parametrize(
    ("limits", "account", "rules", "bound_by", "quantity"),
    [
        (LIMITS._replace(max_position=0.05), ACCOUNT, RULES, "max_position", 0.01),
        (LIMITS._replace(max_notional=1_000.0), ACCOUNT, RULES, "max_notional", 0.02),
        (LIMITS._replace(max_leverage=0.1), ACCOUNT, RULES, "max_leverage", 0.02),
        (LIMITS, ACCOUNT, RULES._replace(max_quantity=0.005), "max_quantity", 0.005),
        # 0.4 % of 10,000 = 40 at risk at 1,060 a unit: 0.0377
        (LIMITS._replace(max_risk_per_trade=0.004), ACCOUNT, RULES, "max_risk_per_trade", 0.037),
        # the venue's 2x is tighter than the 3x allowed: 20,000 less 19,000 held elsewhere
        (LIMITS, ACCOUNT._replace(leverage=2.0, notional=19_000.0), RULES, "max_leverage", 0.02),
        # 30,000 less 28,000 held elsewhere leaves 2,000
        (LIMITS, ACCOUNT._replace(notional=28_000.0), RULES, "max_leverage", 0.04),
        (
            LIMITS._replace(max_notional=5_000.0),
            ACCOUNT._replace(notional=4_000.0),
            RULES,
            "max_notional",
            0.02,
        ),
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


@pytest.mark.parametrize(
    ("limits", "account", "refused"),
    [
        # 20 % of 10,000 must stay free, 2,000 is
        (
            LIMITS._replace(liquidation_buffer=0.2),
            ACCOUNT._replace(free_margin=2_000.0),
            Refused("free_margin", 2_000.0, 2_000.0),
        ),
        (LIMITS, ACCOUNT._replace(free_margin=0.0), Refused("free_margin", 0.0, 0.0)),
        # three times 10,000 at most, all of it held elsewhere
        (LIMITS, ACCOUNT._replace(notional=30_000.0), Refused("max_leverage", 30_000.0, 30_000.0)),
        (
            LIMITS._replace(max_notional=5_000.0),
            ACCOUNT._replace(notional=6_000.0),
            Refused("max_notional", 5_000.0, 6_000.0),
        ),
        (LIMITS._replace(max_position=0.0), ACCOUNT, Refused("max_position", 0.0, 0.0)),
    ],
)
def test_a_limit_with_nothing_left_refuses_under_its_own_name(limits, account, refused):
    assert size(limits=limits, account=account) == refused


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
        ({"target": math.nan}, "target_distance"),
        ({"target": math.inf}, "target_distance"),
        ({"intent": LONG._replace(stop_scale=0.0)}, "stop_scale"),
        ({"intent": LONG._replace(stop_scale=math.nan, stop_distance=0.02)}, "stop_scale"),
        ({"intent": LONG._replace(target_scale=math.nan, target_distance=0.04)}, "target_scale"),
        ({"account": ACCOUNT._replace(free_margin=math.nan)}, "free_margin"),
        ({"account": ACCOUNT._replace(notional=math.nan)}, "notional"),
        ({"account": ACCOUNT._replace(leverage=math.nan)}, "leverage"),
        ({"account": ACCOUNT._replace(leverage=0.0)}, "leverage"),
        ({"limits": LIMITS._replace(max_notional=math.nan)}, "max_notional"),
        ({"limits": LIMITS._replace(entry_cost=-0.001)}, "entry_cost"),
        ({"limits": LIMITS._replace(exit_cost=math.nan)}, "exit_cost"),
        ({"limits": LIMITS._replace(method="martingale")}, "method"),
        ({"rules": RULES._replace(step_size=0.0)}, "step_size"),
        ({"rules": RULES._replace(tick_size=math.nan)}, "tick_size"),
        ({"rules": RULES._replace(min_notional=math.nan)}, "min_notional"),
        ({"headroom": Headroom(multiplier=math.nan)}, "multiplier"),
        ({"headroom": Headroom(multiplier=math.inf)}, "mode"),
        ({"headroom": Headroom(held=math.nan)}, "held"),
        ({"headroom": Headroom(notional_caps={"max_gross": math.nan})}, "max_gross"),
        ({"headroom": Headroom(risk_caps={"max_cluster_risk": math.nan})}, "max_cluster_risk"),
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


def test_an_intents_scale_stretches_the_run_files_target_and_not_its_own():
    """The stop comes stretched already (`strategies.stops`), within its own bounds."""
    approved = size(LONG._replace(stop_scale=1.5, target_scale=2.0), stop=0.03)
    assert (approved.stop_distance, approved.target_distance) == (0.03, pytest.approx(0.08))
    assert approved.quantity == 0.064  # 100 / (50,000 x 3.12 %) = 0.0641
    own = size(LONG._replace(stop_distance=0.01, target_distance=0.03, stop_scale=1.5, target_scale=2.0))
    assert (own.stop_distance, own.target_distance) == (0.01, 0.03)


def test_a_size_without_bounds_is_refused_and_not_an_overflow():
    rules = RULES._replace(max_quantity=math.inf, step_size=1e-8, tick_size=1e-300)
    account = Account(1e307, 1e307, 5.0)
    assert isinstance(size(price=1e-290, account=account, rules=rules), Refused)


# --- additions ---


def add(quantity=0.02, *, side=1, price=51_000.0, stop=0.03, account=ACCOUNT, **seen):
    return assess_add(
        side,
        quantity,
        price=price,
        stop_distance=stop,
        account=account,
        rules=RULES,
        **{"limits": LIMITS, "headroom": FREELY, **seen},
    )


def test_an_addition_that_breaks_nothing_is_what_was_wanted():
    approved = add(0.0209)
    assert (approved.side, approved.quantity, approved.bound_by) == (1, 0.020, "scale_in")
    assert approved.risk_amount == pytest.approx(0.020 * 51_000.0 * 0.0312)
    assert approved.factors == {"mode": 1.0, "correlation": 1.0}


@pytest.mark.parametrize(
    ("seen", "bound_by", "quantity"),
    [
        ({"headroom": Headroom(held=9_490.0)}, "max_position", 0.010),  # 510 left of 10,000
        # 200 at risk at most, 184 taken: 16 / (51,000 x 3.12 % = 1,591.2) = 0.01006
        ({"headroom": Headroom(held_risk=184.0)}, "max_risk_per_trade", 0.010),
        ({"headroom": Headroom(notional_caps={"max_net": 600.0})}, "max_net", 0.011),
        ({"headroom": Headroom(risk_caps={"max_cluster_risk": 16.0})}, "max_cluster_risk", 0.010),
        ({"account": ACCOUNT._replace(notional=29_400.0)}, "max_leverage", 0.011),
    ],
)
def test_every_cap_holds_for_an_addition(seen, bound_by, quantity):
    approved = add(**seen)
    assert (approved.bound_by, approved.quantity) == (bound_by, quantity)


def test_an_addition_shrinks_with_the_mode_since_the_entry_and_never_grows():
    reduced = add(headroom=Headroom(multiplier=0.5))
    assert (reduced.quantity, reduced.factors["mode"]) == (0.010, 0.5)
    # already small at the entry for the same reason: not twice
    assert add(headroom=Headroom(multiplier=0.5), mode_at_entry=0.5).quantity == 0.020
    assert add(headroom=Headroom(multiplier=1.0), mode_at_entry=0.5).quantity == 0.020


@pytest.mark.parametrize(
    ("seen", "check"),
    [
        ({"quantity": math.nan}, "quantity"),
        ({"quantity": 0.0}, "quantity"),
        ({"quantity": -1.0}, "quantity"),
        ({"quantity": 0.0009}, "min_quantity"),
        ({"quantity": 0.001}, "min_notional"),  # 51 of 100
        ({"side": 0}, "side"),
        ({"stop": -0.01}, "stop_distance"),
        ({"stop": math.nan}, "stop_distance"),
        ({"price": math.nan}, "price"),
        ({"mode_at_entry": math.nan}, "mode"),
        ({"mode_at_entry": 0.0}, "mode"),
        ({"headroom": Headroom(multiplier=0.0)}, "mode"),
        ({"headroom": Headroom(held=10_000.0)}, "max_position"),
    ],
)
def test_an_addition_that_cannot_be_is_refused(seen, check):
    refused = add(seen.pop("quantity", 0.02), **seen)
    assert isinstance(refused, Refused)
    assert refused.check == check
