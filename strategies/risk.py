"""From a wish to a size, or to a refusal with its numbers. Pure: plain values in, plain values out.

Wanted is base x confidence x mode x regime x correlation; then the tightest cap counts, and the result is
rounded down to the lot. A size under the venue's minimum is refused, never bumped up. Every comparison is
written so that NaN refuses. The base in units of the instrument, with E the equity and L what a unit loses at
the stop, costs of entry and exit included:

- risk: E x risk_per_trade / L
- fraction: E x fraction / price
- volatility: E x target_volatility / (volatility x sqrt(bars_per_year)) / price, the volatility that of a
  one-bar log return, returns taken as uncorrelated
- kelly: E x min(kelly_share x f, kelly_cap) / L, f = p - (1 - p) / b, p the intent's probability of the
  target before the stop, b = (target - costs) / (stop + costs); f <= 0 is refused. A trade that runs out of
  time ends between the two and is not in p. Sources: Kelly (1956); Thorp, "The Kelly Criterion in Blackjack,
  Sports Betting and the Stock Market" (2006), also on betting a fraction of it.
"""

import math
from typing import NamedTuple

from configs.schema import RunConfig, StrategyConfig
from configs.trading import SizingConfig
from models.regime import Regime
from models.scores import kelly_fraction
from strategies.values import Account, Approved, Headroom, Inputs, InstrumentRules, Intent, Limits, Refused

__all__ = ["assess", "assess_add", "floor_to_step", "limits_from", "sizing_inputs"]

_VOLATILITY = "realized_volatility_20"
_SECS_PER_YEAR = 365.0 * 86_400.0  # crypto trades every day
_CLUSTER = "max_cluster_risk"


class _Trade(NamedTuple):
    """The trade to be sized; `loss` is what one unit loses at the stop, costs included."""

    side: int
    price: float
    stop: float
    target: float | None
    confidence: float
    loss: float


class _Cap(NamedTuple):
    """A bound on the quantity: `limit` less what is `used` already, at `per_unit` for each unit."""

    name: str
    limit: float
    used: float
    per_unit: float

    @property
    def room(self) -> float:
        return (self.limit - self.used) / self.per_unit if self.per_unit > 0.0 else math.nan


# --- from the run file ---


def limits_from(run: RunConfig, strategy: StrategyConfig) -> Limits:
    """One strategy's sizing and limits as fractions.

    Costs are the taker's, slippage included; only a post-only entry counts the maker's fee. A limit order
    may take, and a rebate is not counted on.
    """
    taker = float(run.venue.taker_cost)
    maker = max(0.0, float(run.venue.maker_rate))
    sizing = strategy.sizing
    return Limits(
        method=sizing.method,
        risk_per_trade=sizing.risk_per_trade_pct / 100.0,
        fraction=sizing.fraction_pct / 100.0,
        confidence_weighted=sizing.confidence_weighted,
        max_position=sizing.max_position_pct / 100.0,
        max_leverage=run.risk.max_leverage,
        max_notional=run.risk.max_notional,
        liquidation_buffer=run.risk.liquidation_buffer_pct / 100.0,
        entry_cost=maker if strategy.entry.order == "post_only" else taker,
        exit_cost=taker,
        max_risk_per_trade=run.risk.position.max_risk_per_trade_pct / 100.0,
        target_volatility=sizing.target_volatility_pct / 100.0,
        bars_per_year=_SECS_PER_YEAR / run.data.bar_secs,
        kelly_share=sizing.kelly_share,
        kelly_cap=sizing.kelly_cap_pct / 100.0,
        regime=sizing.regime,
    )


def sizing_inputs(sizing: SizingConfig) -> Inputs:
    """What sizing needs to see beside the bar: the realised volatility, the regime."""
    return Inputs((_VOLATILITY,) if sizing.method == "volatility" else (), sizing.regime is not None)


# --- sizes ---


def floor_to_step(quantity: float, step_size: float) -> float:
    """The largest multiple of `step_size` not above `quantity`, free of binary dust.

    A quantity within binary noise of a multiple counts as that multiple, so that 0.3 / 0.1 is 3 steps.
    """
    ratio = quantity / step_size
    steps = math.floor(ratio + 1e-9 + 1e-15 * ratio)
    digits = max(0, -math.floor(math.log10(step_size) + 1e-9))
    return round(steps * step_size, digits + 2)


def assess(
    intent: Intent,
    *,
    price: float,
    stop_distance: float,
    target_distance: float | None,
    account: Account,
    limits: Limits,
    rules: InstrumentRules,
    headroom: Headroom,
    volatility: float = math.nan,
    regime: Regime | None = None,
) -> Approved | Refused:
    """Size an intent at `price` and hold it against every limit.

    Distances are fractions of `price`; the intent's own replace them, its scales stretch them. Of several
    targets give the nearest: the careful one for Kelly. `volatility` is the standard deviation of a one-bar
    log return. A regime that the sizing asks for and nobody knows is refused. `headroom` comes from
    `strategies.checks.authorise`: without its permission nothing is sized.
    """
    stop = stop_distance if intent.stop_distance is None else intent.stop_distance
    target = intent.target_distance
    if target is None and target_distance is not None:
        target = target_distance * intent.target_scale
    loss = price * (stop + limits.entry_cost + limits.exit_cost)
    trade = _Trade(intent.side, price, stop, target, intent.confidence, loss)
    refusal = _refuse_values(trade, account, limits, rules, headroom) or _refuse_intent(intent, trade, rules)
    if refusal is not None:
        return refusal
    base = _base(trade, intent.probability, account.equity, limits, volatility)
    if isinstance(base, Refused):
        return base
    factors = _factors(intent, limits, headroom, regime)
    if isinstance(factors, Refused):
        return factors
    return _fit(limits.method, base, factors, trade, account, limits, rules, headroom)


def assess_add(
    side: int,
    quantity: float,
    *,
    price: float,
    stop_distance: float,
    account: Account,
    limits: Limits,
    rules: InstrumentRules,
    headroom: Headroom,
    mode_at_entry: float = 1.0,
) -> Approved | Refused:
    """Hold an addition of `quantity` (base units) to an open position against every limit.

    `stop_distance` is from `price` to the position's stop as it is now. The quantity was sized at the entry
    under a multiplier of the risk mode, `mode_at_entry` (`Approved.factors["mode"]`): if it has fallen since,
    the addition shrinks in proportion; it never grows.
    """
    loss = price * (stop_distance + limits.entry_cost + limits.exit_cost)
    trade = _Trade(side, price, stop_distance, None, 1.0, loss)
    refusal = _refuse_values(trade, account, limits, rules, headroom)
    if refusal is not None:
        return refusal
    if not 0.0 < quantity < math.inf:
        return Refused("quantity", 0.0, quantity)
    if not (0.0 < mode_at_entry < math.inf and 0.0 < headroom.multiplier < math.inf):
        return Refused("mode", mode_at_entry, headroom.multiplier)
    factors = {"mode": min(1.0, headroom.multiplier / mode_at_entry)}
    return _fit("scale_in", quantity, factors, trade, account, limits, rules, headroom)


# --- what cannot be traded on ---


def _refuse_intent(intent: Intent, trade: _Trade, rules: InstrumentRules) -> Refused | None:
    checks = [
        (0.0 <= intent.confidence <= 1.0, Refused("confidence", 1.0, intent.confidence)),
        (0.0 < intent.stop_scale < math.inf, Refused("stop_scale", 0.0, intent.stop_scale)),
        (0.0 < intent.target_scale < math.inf, Refused("target_scale", 0.0, intent.target_scale)),
    ]
    if trade.target is not None:
        away = trade.target * trade.price
        furthest = math.inf if trade.side > 0 else 1.0  # a short cannot gain more than the whole price
        checks += [
            (away >= rules.tick_size, Refused("target_distance", rules.tick_size, away)),
            (0.0 < trade.target < furthest, Refused("target_distance", furthest, trade.target)),
        ]
    return next((refusal for fine, refusal in checks if not fine), None)


def _refuse_values(
    trade: _Trade, account: Account, limits: Limits, rules: InstrumentRules, headroom: Headroom
) -> Refused | None:
    away = trade.stop * trade.price
    checks = (
        (trade.side in (1, -1), Refused("side", 1.0, float(trade.side))),
        (0.0 < trade.price < math.inf, Refused("price", 0.0, trade.price)),
        (0.0 < account.equity < math.inf, Refused("equity", 0.0, account.equity)),
        (0.0 < account.leverage < math.inf, Refused("leverage", 0.0, account.leverage)),
        (0.0 < rules.tick_size < math.inf, Refused("tick_size", 0.0, rules.tick_size)),
        (0.0 < rules.step_size < math.inf, Refused("step_size", 0.0, rules.step_size)),
        (away >= rules.tick_size, Refused("stop_distance", rules.tick_size, away)),
        (0.0 < trade.stop < 1.0, Refused("stop_distance", 1.0, trade.stop)),
        (limits.entry_cost >= 0.0, Refused("entry_cost", 0.0, limits.entry_cost)),
        (limits.exit_cost >= 0.0, Refused("exit_cost", 0.0, limits.exit_cost)),
    )
    wrong = next((refusal for fine, refusal in checks if not fine), None)
    return wrong or _refuse_nan(account, limits, rules, headroom)


def _refuse_nan(*groups: Account | Limits | InstrumentRules | Headroom) -> Refused | None:
    """min() and max() pass NaN on or over by the order of their arguments: none may get that far."""
    for group in groups:
        for name, value in zip(group._fields, group, strict=True):
            if isinstance(value, float) and math.isnan(value):
                return Refused(name, math.nan, value)
    return None


# --- the wanted size ---


def _base(
    trade: _Trade, probability: float, equity: float, limits: Limits, volatility: float
) -> float | Refused:
    if limits.method == "risk":
        return equity * limits.risk_per_trade / trade.loss
    if limits.method == "fraction":
        return equity * limits.fraction / trade.price
    if limits.method == "volatility":
        annual = volatility * math.sqrt(limits.bars_per_year)
        if not 0.0 < annual < math.inf:  # a market that stands still says nothing about its risk
            return Refused("volatility", 0.0, volatility)
        return equity * (limits.target_volatility / annual) / trade.price
    if limits.method == "kelly":
        share = _kelly_share(probability, trade.stop, trade.target, limits)
        return share if isinstance(share, Refused) else equity * share / trade.loss
    return Refused("method", 0.0, math.nan)


def _kelly_share(probability: float, stop: float, target: float | None, limits: Limits) -> float | Refused:
    """The share of equity to lose at the stop."""
    costs = limits.entry_cost + limits.exit_cost
    if not 0.0 <= probability <= 1.0:
        return Refused("probability", 1.0, probability)
    if target is None or not costs < target < math.inf:
        return Refused("kelly_target", costs, math.nan if target is None else target)
    fraction = float(kelly_fraction(probability, (target - costs) / (stop + costs)))
    if not fraction > 0.0:
        return Refused("kelly", 0.0, fraction)
    return min(limits.kelly_share * fraction, limits.kelly_cap)


def _factors(
    intent: Intent, limits: Limits, headroom: Headroom, regime: Regime | None
) -> dict[str, float] | Refused:
    if limits.regime is not None and regime is None:
        return Refused("regime_unknown", 1.0, 0.0)
    factors = {
        "confidence": intent.confidence if limits.confidence_weighted else 1.0,
        "mode": headroom.multiplier,
        "regime": _regime_factor(intent.side, limits, regime),
    }
    for name, factor in factors.items():
        if not 0.0 < factor < math.inf:
            return Refused(name, 0.0, factor)
    return factors


def _regime_factor(side: int, limits: Limits, regime: Regime | None) -> float:
    config = limits.regime
    if config is None or regime is None:
        return 1.0
    factor = {-1: config.low_volatility, 1: config.high_volatility}.get(regime.volatility, 1.0)
    if not regime.trending:
        factor *= config.ranging
    elif regime.direction == -side:
        factor *= config.against_trend
    return factor


# --- the limits ---


def _fit(
    method: str,
    base: float,
    factors: dict[str, float],
    trade: _Trade,
    account: Account,
    limits: Limits,
    rules: InstrumentRules,
    headroom: Headroom,
) -> Approved | Refused:
    """Cut the wanted quantity to the tightest cap and down to the lot."""
    wanted = base * math.prod(factors.values())
    caps = _caps(trade, account, limits, rules, headroom)
    spent = next((cap for cap in caps if not cap.room > 0.0), None)
    if spent is not None:
        return Refused(spent.name, spent.limit, spent.used)
    cluster = min((cap.room for cap in caps if cap.name == _CLUSTER), default=math.inf)
    tightest = min(caps, key=lambda cap: cap.room)
    capped, bound_by = min((wanted, method), (tightest.room, tightest.name), key=lambda pair: pair[0])
    if not 0.0 < capped / rules.step_size < math.inf:
        return Refused(method, 0.0, capped)
    quantity = floor_to_step(capped, rules.step_size)
    if not (quantity >= rules.min_quantity and quantity > 0.0):
        return Refused("min_quantity", rules.min_quantity, capped)
    if not quantity * trade.price >= rules.min_notional:
        return Refused("min_notional", rules.min_notional, quantity * trade.price)
    return Approved(
        side=trade.side,
        quantity=quantity,
        stop_distance=trade.stop,
        target_distance=trade.target,
        confidence=trade.confidence,
        risk_amount=quantity * trade.loss,
        bound_by=bound_by,
        factors={**factors, "correlation": min(1.0, cluster / wanted)},
    )


def _caps(
    trade: _Trade, account: Account, limits: Limits, rules: InstrumentRules, headroom: Headroom
) -> list[_Cap]:
    """Every bound beside the wanted size. What the instrument holds counts against a position's limits."""
    equity, leverage, price = account.equity, account.leverage, trade.price
    caps = [
        _Cap("max_position", equity * limits.max_position, headroom.held, price),
        _Cap("max_risk_per_trade", equity * limits.max_risk_per_trade, headroom.held_risk, trade.loss),
        _Cap("max_leverage", equity * min(leverage, limits.max_leverage), account.notional, price),
        # a unit takes its margin and its entry cost
        _Cap(
            "free_margin",
            account.free_margin,
            equity * limits.liquidation_buffer,
            price * (1.0 / leverage + limits.entry_cost),
        ),
        # of the whole position: one order closes it
        _Cap("max_quantity", rules.max_quantity * price, headroom.held, price),
    ]
    if limits.max_notional is not None:
        caps.append(_Cap("max_notional", limits.max_notional, account.notional, price))
    if limits.method == "kelly":  # factors above 1 must not lift a bet over its cap
        caps.append(_Cap("kelly_cap", equity * limits.kelly_cap, headroom.held_risk, trade.loss))
    caps += [_Cap(name, left, 0.0, price) for name, left in headroom.notional_caps.items()]
    caps += [_Cap(name, left, 0.0, trade.loss) for name, left in headroom.risk_caps.items()]
    return caps
