"""What must hold of every size, whatever the account, the market and the run file."""

import math

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from configs.trading import RegimeSizing
from models.correlation import clusters, correlation_matrix
from models.regime import Regime
from strategies.checks import authorise
from strategies.risk import assess, assess_add, floor_to_step
from strategies.values import (
    Account,
    Approved,
    Book,
    Headroom,
    InstrumentRules,
    Intent,
    Limits,
    Refused,
    RiskLimits,
    RiskView,
)

SLACK = 1 + 1e-6  # binary dust that rounding to the lot forgives
METHODS = ("risk", "fraction", "volatility", "kelly")
NAMES = ("A", "B", "C", "D")


@st.composite
def limits_of_all_kinds(draw):
    share = st.floats(0.005, 0.5)
    return Limits(
        method=draw(st.sampled_from(METHODS)),
        risk_per_trade=draw(st.floats(0.0005, 0.05)),
        fraction=draw(st.floats(0.01, 5.0)),
        confidence_weighted=draw(st.booleans()),
        max_position=draw(st.floats(0.1, 5.0)),
        max_leverage=draw(st.floats(0.3, 20.0)),
        max_notional=draw(st.none() | st.floats(100.0, 1e7)),
        liquidation_buffer=draw(st.floats(0.0, 0.4)),
        entry_cost=draw(st.floats(0.0, 0.005)),
        exit_cost=draw(st.floats(0.0, 0.005)),
        max_risk_per_trade=draw(share),
        target_volatility=draw(st.floats(0.01, 2.0)),
        bars_per_year=draw(st.sampled_from([2_190.0, 35_040.0, 525_600.0])),
        kelly_share=draw(st.floats(0.05, 1.0)),
        kelly_cap=draw(share),
        regime=draw(st.none() | st.just(RegimeSizing())),
    )


@st.composite
def questions(draw):
    """Everything `assess` is asked with; the half that is not wild is tradable as a rule."""
    wild = draw(st.booleans())
    low = 0.0 if wild else 0.3
    equity = draw(st.floats(10.0, 1e7))
    price = draw(st.floats(0.01, 200_000.0))
    # lots of a millionth to a hundredth of the equity
    step = 10.0 ** math.floor(
        math.log10(equity / price) - draw(st.integers(2, 4) if wild else st.integers(4, 6))
    )
    share = st.just(0.0) | st.floats(0.0, 0.3)
    money = st.floats(-0.02 if wild else 0.02, 3.0).map(lambda part: part * equity)
    return {
        "intent": Intent(
            draw(st.sampled_from([1, -1])),
            draw(st.floats(low, 1.0)),
            (),
            stop_scale=draw(st.floats(0.5, 2.0)),
            target_scale=draw(st.floats(0.5, 2.0)),
            probability=draw(st.floats(2 * low, 1.0)),
        ),
        "price": price,
        "stop_distance": draw(st.floats(0.0005, 0.4)),
        "target_distance": draw(st.none() | st.floats(0.001, 0.4) if wild else st.floats(0.2, 0.4)),
        "account": Account(
            equity, equity * draw(st.floats(0.5, 1.0)), draw(st.floats(1.0, 125.0)), equity * draw(share)
        ),
        "limits": draw(limits_of_all_kinds()),
        "rules": InstrumentRules(
            1e-6,
            step,
            step,
            draw(st.floats(1.0 if wild else 1e3, 1e7)) * step,
            equity * draw(st.floats(0.0, 0.001 if wild else 1e-4)),
        ),
        "headroom": Headroom(
            draw(st.floats(low, 3.0)),
            {"max_gross": draw(money), "max_net": draw(money), "max_side": draw(money)},
            {"max_cluster_risk": draw(money)},
            equity * draw(share),
            equity * draw(st.just(0.0) | st.floats(0.0, 0.02)),
        ),
        "volatility": draw(st.floats(1e-6, 0.1) if wild else st.floats(1e-4, 0.01)),
        "regime": Regime(
            draw(st.booleans()), draw(st.sampled_from([-1, 0, 1])), draw(st.sampled_from([-1, 0, 1])), 5
        ),
    }


def ask(question):
    return assess(question["intent"], **{k: v for k, v in question.items() if k != "intent"})


def assert_within_every_limit(verdict, question):
    account, limits = question["account"], question["limits"]
    rules, headroom = question["rules"], question["headroom"]
    notional = verdict.quantity * question["price"]
    step = rules.step_size
    assert verdict.quantity > 0.0
    assert verdict.quantity >= rules.min_quantity
    assert notional >= rules.min_notional
    assert verdict.quantity / step == pytest.approx(round(verdict.quantity / step), rel=1e-9, abs=1e-6)
    # floor_to_step takes what lies a billionth of a lot under a multiple for the multiple
    dust, risk_dust = step * question["price"] * 1e-8, step * verdict.risk_amount / verdict.quantity * 1e-8
    assert verdict.quantity <= rules.max_quantity * SLACK
    assert headroom.held + notional <= account.equity * limits.max_position * SLACK + dust
    ceiling = account.equity * min(account.leverage, limits.max_leverage)
    assert account.notional + notional <= ceiling * SLACK + dust
    margin_and_fee = notional / account.leverage + notional * limits.entry_cost
    assert margin_and_fee <= (account.free_margin - limits.liquidation_buffer * account.equity) * SLACK + dust
    if limits.max_notional is not None:
        assert account.notional + notional <= limits.max_notional * SLACK + dust
    at_risk = headroom.held_risk + verdict.risk_amount
    assert at_risk <= account.equity * limits.max_risk_per_trade * SLACK + risk_dust
    if limits.method == "kelly":
        assert verdict.risk_amount <= account.equity * limits.kelly_cap * SLACK + risk_dust
    for cap in headroom.notional_caps.values():
        assert notional <= cap * SLACK + dust
    for cap in headroom.risk_caps.values():
        assert verdict.risk_amount <= cap * SLACK + risk_dust


def value_of(verdict):
    return verdict.quantity if isinstance(verdict, Approved) else 0.0


@settings(max_examples=400, deadline=None)
@given(questions())
def test_an_approved_size_breaks_no_limit_and_is_a_multiple_of_the_lot(question):
    verdict = ask(question)
    if isinstance(verdict, Approved):
        assert_within_every_limit(verdict, question)


@settings(max_examples=200, deadline=None)
@given(questions(), st.floats(0.0, 1e6))
def test_an_approved_addition_breaks_no_limit_and_is_never_more_than_wanted(question, wanted):
    verdict = assess_add(
        question["intent"].side,
        wanted,
        **{k: question[k] for k in ("price", "stop_distance", "account", "limits", "rules", "headroom")},
    )
    if isinstance(verdict, Approved):
        assert_within_every_limit(verdict, question)
        assert verdict.quantity <= wanted * SLACK + question["rules"].step_size * 1e-8


def richer(question, factor):
    """The same account `factor` times as large, what is held and tied up left as it is."""
    account, headroom = question["account"], question["headroom"]
    gained = account.equity * (factor - 1.0)
    return {
        **question,
        "account": account._replace(equity=account.equity + gained, free_margin=account.free_margin + gained),
        "headroom": headroom._replace(
            notional_caps={name: cap + gained for name, cap in headroom.notional_caps.items()},
            risk_caps={name: cap + gained for name, cap in headroom.risk_caps.items()},
        ),
    }


@settings(max_examples=200, deadline=None)
@given(questions(), st.floats(1.0, 10.0))
def test_more_equity_is_never_a_smaller_size(question, factor):
    assert value_of(ask(richer(question, factor))) >= value_of(ask(question))


@settings(max_examples=200, deadline=None)
@given(questions(), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_more_confidence_is_never_a_smaller_size(question, one, other):
    low, high = sorted((one, other))
    sizes = [
        value_of(ask({**question, "intent": question["intent"]._replace(confidence=c)})) for c in (low, high)
    ]
    assert sizes[0] <= sizes[1]


@settings(max_examples=200, deadline=None)
@given(questions(), st.floats(0.0, 3.0), st.floats(0.0, 3.0))
def test_a_larger_multiplier_of_the_mode_is_never_a_smaller_size(question, one, other):
    low, high = sorted((one, other))
    sizes = [
        value_of(ask({**question, "headroom": question["headroom"]._replace(multiplier=m)}))
        for m in (low, high)
    ]
    assert sizes[0] <= sizes[1]


@settings(max_examples=200, deadline=None)
@given(questions())
def test_the_size_is_at_most_the_base_times_the_recorded_factors(question):
    verdict = ask(question)
    assume(isinstance(verdict, Approved))
    limits, intent = question["limits"], question["intent"]
    factors = verdict.factors
    assert list(factors) == ["confidence", "mode", "regime", "correlation"]
    assert factors["confidence"] == (intent.confidence if limits.confidence_weighted else 1.0)
    assert factors["mode"] == question["headroom"].multiplier
    assert 0.35 <= factors["regime"] <= 1.3
    assert 0.0 < factors["correlation"] <= 1.0
    if limits.method == "fraction":
        base = question["account"].equity * limits.fraction / question["price"]
        dust = question["rules"].step_size * 1e-8
        assert verdict.quantity <= base * math.prod(factors.values()) * SLACK + dust
    if factors["correlation"] < 1.0 - 1e-12:
        assert verdict.bound_by != limits.method


NO_NUMBERS = ("method", "regime", "confidence_weighted")
NAN_FIELDS = [
    *(("account", field) for field in Account._fields),
    *(("rules", field) for field in InstrumentRules._fields),
    *(("headroom", field) for field in ("multiplier", "held", "held_risk")),
    *(
        ("limits", field)
        for field in Limits._fields
        if field not in ("method", "regime", "confidence_weighted")
    ),
    *(("intent", field) for field in ("confidence", "stop_scale", "target_scale")),
]


@settings(max_examples=200, deadline=None)
@given(questions(), st.sampled_from(NAN_FIELDS))
def test_nan_in_any_field_is_refused(question, place):
    group, field = place
    broken = {**question, group: question[group]._replace(**{field: math.nan})}
    assert isinstance(ask(broken), Refused)


@settings(max_examples=100, deadline=None)
@given(questions(), st.sampled_from(["price", "stop_distance", "notional_caps", "risk_caps", "method's own"]))
def test_nan_in_what_the_market_says_is_refused(question, place):
    if place in ("notional_caps", "risk_caps"):
        caps = dict.fromkeys(getattr(question["headroom"], place), math.nan)
        broken = {"headroom": question["headroom"]._replace(**{place: caps})}
    elif place == "method's own":
        assume(question["limits"].method in ("volatility", "kelly"))
        broken = {"volatility": math.nan, "intent": question["intent"]._replace(probability=math.nan)}
    else:
        broken = {place: math.nan}
    assert isinstance(ask({**question, **broken}), Refused)


@given(st.floats(), st.floats(), st.floats(), st.floats(), st.floats(), st.floats())
@example(1e-300, 1e-300, 1e-10, 1e308, 1e308, 1e-300)
@example(1e308, 0.5, 1e308, 1e308, 1e308, 5e-324)
def test_no_number_makes_it_crash_or_size_below_nothing(price, stop, target, equity, leverage, step):
    limits = Limits("risk", 0.01, 0.1, True, 1.0, 3.0, None, 0.2, 0.0006, 0.0006)
    verdict = assess(
        Intent(1, 1.0, ()),
        price=price,
        stop_distance=stop,
        target_distance=target,
        account=Account(equity, equity, leverage),
        limits=limits,
        rules=InstrumentRules(1e-9, step, step, math.inf, 0.0),
        headroom=Headroom(),
    )
    assert isinstance(verdict, Refused) or 0.0 < verdict.quantity < math.inf


@given(st.integers(0, 10**9), st.sampled_from([1.0, 0.5, 0.1, 0.01, 0.001, 0.00001]))
def test_a_multiple_of_the_step_is_kept_and_less_than_one_more_is_cut(steps, step):
    exact = steps * step
    assert floor_to_step(exact, step) == pytest.approx(exact, rel=1e-12)
    assert floor_to_step(exact + 0.5 * step, step) == pytest.approx(exact, rel=1e-12)


# --- the account's limits ---

RISK = RiskLimits(frozenset(NAMES), 4, 1, 10, 0.05, 3.0, 2.0, 2.5, 0.1, 10**9)
notionals = st.dictionaries(st.sampled_from(NAMES[1:]), st.floats(-30_000.0, 30_000.0))


def permitted(side, positions, risks, cluster, equity):
    return authorise(
        Intent(side, 1.0, ()),
        instrument="A",
        ts_event=0,
        price=1.0,
        last_price=1.0,
        account=Account(equity, equity, 5.0),
        book=Book(positions, risks),
        mode=RiskView(0, "NORMAL", 1.0, None, tuple(cluster)),
        limits=RISK,
    )


@settings(max_examples=300)
@given(
    st.sampled_from([1, -1]),
    notionals,
    st.dictionaries(st.sampled_from(NAMES[1:]), st.floats(-2_000.0, 2_000.0)),
    st.sets(st.sampled_from(NAMES)),
    st.floats(100.0, 1e5),
)
def test_an_entry_that_takes_all_that_is_left_is_at_the_limit_and_not_beyond(
    side, positions, risks, cluster, equity
):
    verdict = permitted(side, positions, risks, cluster, equity)
    held = list(positions.values())
    taken = sum(abs(risks.get(name, positions.get(name, 0.0))) for name in cluster | {"A"})
    if isinstance(verdict, Refused):
        assert verdict.value >= verdict.limit
        return
    for name, left in verdict.notional_caps.items():
        after = [*held, side * left]
        measure = {
            "max_gross": sum(abs(x) for x in after) / equity - 3.0,
            "max_net": side * sum(after) / equity - 2.0,
            "max_side": sum(side * x for x in after if side * x > 0.0) / equity - 2.5,
        }[name]
        assert measure == pytest.approx(0.0, abs=1e-6 + 1e-9 * sum(map(abs, held)) / equity)
    assert (taken + verdict.risk_caps["max_cluster_risk"]) / equity == pytest.approx(0.1, abs=1e-6)


@given(notionals, st.floats(100.0, 1e5))
def test_long_and_short_are_mirror_images(positions, equity):
    mirrored = {name: -notional for name, notional in positions.items()}
    assert permitted(1, positions, {}, (), equity) == permitted(-1, mirrored, {}, (), equity)


# --- correlation ---


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.integers(3, 40), st.permutations(range(6)))
def test_correlations_are_symmetric_bounded_and_blind_to_order_and_scale(seed, count, rows, order):
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(rows, count)) @ rng.normal(size=(count, count))
    table[rng.random(table.shape) < 0.1] = np.nan
    matrix = correlation_matrix(table, 3)
    np.testing.assert_array_equal(matrix, matrix.T)
    assert np.all((np.abs(matrix) <= 1.0) | np.isnan(matrix))
    chosen = [i for i in order if i < count]
    np.testing.assert_array_equal(correlation_matrix(table[:, chosen], 3), matrix[np.ix_(chosen, chosen)])
    scaled = correlation_matrix(table * rng.uniform(0.1, 10.0, count), 3)
    np.testing.assert_allclose(scaled, matrix, atol=1e-9)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 7), st.floats(0.1, 1.0), st.permutations(range(7)))
def test_clusters_part_all_names_join_all_links_and_are_blind_to_order(seed, count, threshold, order):
    rng = np.random.default_rng(seed)
    upper = np.triu(np.where(rng.random((count, count)) < 0.1, np.nan, rng.uniform(-1, 1, (count, count))), 1)
    matrix = upper + upper.T + np.eye(count)
    names = [f"n{i}" for i in range(count)]
    groups = clusters(matrix, names, threshold)
    assert sorted(name for group in groups for name in group) == names
    home = {name: group for group in groups for name in group}
    linked = [(i, j) for i in range(count) for j in range(i) if not abs(matrix[i, j]) < threshold - 1e-9]
    assert all(home[names[i]] == home[names[j]] for i, j in linked)
    # as few links as a tree needs hold every group together
    assert sum(len(group) - 1 for group in groups) <= len(linked)
    assert all(len(group) == 1 or any(names[i] in group for i, _ in linked) for group in groups)
    chosen = [i for i in order if i < count]
    assert clusters(matrix[np.ix_(chosen, chosen)], [names[i] for i in chosen], threshold) == groups
    # a higher threshold only ever splits
    finer = clusters(matrix, names, min(1.0, threshold + 0.2))
    assert all(set(group) <= set(home[group[0]]) for group in finer)
