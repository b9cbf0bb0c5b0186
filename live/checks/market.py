"""Preflight's checks of market and money: trading status, reachable sizes, balance."""

import math
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from catalog.instruments import symbol_of
from catalog.store import Catalog
from configs.errors import DataError
from configs.schema import StrategyConfig
from live.checks.report import Context, Row, failed, ok, warned
from live.venue.answers import SymbolRules
from models.regime import Regime
from strategies.risk import assess, limits_from
from strategies.values import Account, Approved, Headroom, InstrumentRules, Intent, Refused

__all__ = ["check_balance", "check_sizes", "check_symbols"]

type Times = NDArray[np.int64]

_CALM = Regime(trending=False, direction=0, volatility=0, bars=1)
_SURE = 0.95  # a model's best probability, for sizing by Kelly
_FAR_TARGET = 0.05
_VOLATILITY_BARS = 21
_TOO_SMALL = {"min_quantity", "min_notional"}
_MS_NS = 1_000_000
_MORE_MONEY = {
    False: "transfer {} to the futures account",
    True: "the paper account is used up: begin anew with another --state DIR",
}


def check_symbols(context: Context) -> Row:
    """Every symbol is listed, trades, and takes stop orders."""
    halted = {s: context.rules(s).status for s in context.symbols if context.rules(s).status != "TRADING"}
    if halted:
        found = ", ".join(f"{symbol} is {status}" for symbol, status in halted.items())
        return failed("symbols", found, "wait until it trades again, or take it out of the run file")
    for symbol in context.symbols:
        kinds = context.rules(symbol).order_types
        if kinds and "STOP_MARKET" not in kinds:
            return failed("symbols", f"{symbol} takes no STOP_MARKET orders", "take it out of the run file")
    return ok("symbols", f"{', '.join(context.symbols)} trade")


def check_sizes(context: Context) -> Row:
    """The largest entry that a strategy's sizing can wish for is one that the venue accepts."""
    rows = [_size_row(context, strategy) for strategy in context.run.strategies]
    for outcome in ("failed", "warned"):
        chosen = [row for row in rows if row.outcome == outcome]
        if chosen:
            return chosen[0]._replace(found="; ".join(row.found for row in chosen))
    return ok("sizes", "; ".join(row.found for row in rows))


def _size_row(context: Context, strategy: StrategyConfig) -> Row:
    symbol = symbol_of(strategy.instrument)
    rules = context.rules(symbol)
    price = float(context.client.mark_price(symbol))
    verdict = _largest(context, strategy, rules, price)
    if isinstance(verdict, Refused):
        found = (
            f"{strategy.label}: no entry is possible: {verdict.check} "
            f"(limit {verdict.limit:g}, value {verdict.value:g})"
        )
        advice = f"the limit '{verdict.check}' forbids even the first: see sizing and risk in the run file"
        if verdict.check in _TOO_SMALL:
            advice = (
                f"the venue's least order of {symbol} is {rules.min_notional:f} and {rules.min_quantity:f}; "
            )
            advice += "raise the sizing or the balance"
        return failed("sizes", found, advice)
    notional = verdict.quantity * price
    found = f"{strategy.label}: at most {verdict.quantity:g} {symbol} ({notional:.2f})"
    smallest = min((factor for _, factor in context.run.risk.portfolio.drawdown_steps), default=1.0)
    least = max(float(rules.min_notional), float(rules.min_quantity) * price)
    if notional * smallest < least:
        advice = (
            f"in a drawdown sizes shrink to {smallest:g} of that (risk.portfolio.drawdown_steps), below the "
            f"least order of {least:.2f}: nothing is entered then; raise the sizing or the balance"
        )
        return warned("sizes", found, advice)
    other = _other_rules(context, strategy.instrument, rules)
    return (
        warned(
            "sizes", f"{found}; {other}", "backtests round otherwise: ingest the venue's exchangeInfo anew"
        )
        if other
        else ok("sizes", found)
    )


def _largest(
    context: Context, strategy: StrategyConfig, rules: SymbolRules, price: float
) -> Approved | Refused:
    """What `strategies.risk` makes of a sure intent, a free account and the nearest stop."""
    stop, ladder = strategy.stop, strategy.targets.ladder
    balance = context.balances.of(rules.margin_asset)
    return assess(
        Intent(1, 1.0, ("preflight",), probability=_SURE),
        price=price,
        stop_distance=(stop.pct if stop.method == "percent" else stop.min_pct) / 100.0,
        target_distance=ladder[0][0] if ladder else _FAR_TARGET,
        account=Account(
            equity=float(balance.margin_balance),
            free_margin=float(balance.margin_balance),
            leverage=context.run.venue.leverage,
        ),
        limits=limits_from(context.run, strategy),
        rules=InstrumentRules(
            tick_size=float(rules.tick),
            step_size=float(max(rules.step, rules.market_step)),
            min_quantity=float(max(rules.min_quantity, rules.market_min_quantity)),
            max_quantity=float(min(rules.max_quantity, rules.market_max_quantity)),
            min_notional=float(rules.min_notional),
        ),
        headroom=Headroom(),
        volatility=_volatility(context, rules.symbol) if strategy.sizing.method == "volatility" else math.nan,
        regime=_CALM,
    )


def _volatility(context: Context, symbol: str) -> float:
    """Standard deviation of the one-bar log return over the last 20."""
    closes = [float(bar.close) for bar in context.history(symbol, _VOLATILITY_BARS)]
    return float(np.std(np.diff(np.log(closes)), ddof=1)) if len(closes) > 2 else math.nan


def _other_rules(context: Context, instrument: str, rules: SymbolRules) -> str:
    """How the catalog's rules, by which models learned and backtests ran, differ from the venue's."""
    try:
        stored = Catalog.open(context.run.data.catalog).instrument(instrument)
    except DataError:
        return ""
    pairs = {
        "tick": (Decimal(str(stored.price_increment)), rules.tick),
        "step": (Decimal(str(stored.size_increment)), rules.step),
    }
    return ", ".join(
        f"its {name} is {now:f} here and {then:f} in the catalog"
        for name, (then, now) in pairs.items()
        if then != now
    )


def check_balance(context: Context) -> Row:
    """The money there carries what the run may hold at its leverage."""
    run = context.run
    assets = {context.rules(symbol).margin_asset for symbol in context.symbols}
    found = []
    for asset in sorted(assets):
        balance = context.balances.of(asset)
        equity, free = float(balance.margin_balance), float(balance.available_balance)
        found.append(f"{equity:.2f} {asset}, {free:.2f} free")
        if not equity > 0:
            return failed("balance", found[-1], _MORE_MONEY[context.is_paper].format(asset))
        wanted = _wanted_notional(context, equity)
        room = equity * run.venue.leverage * (1.0 - run.risk.liquidation_buffer_pct / 100.0)
        most = run.risk.max_notional
        if most is not None and most > room:
            text = f"{found[-1]}: risk.max_notional {most:g} is more than the {room:.2f} it carries"
            return failed("balance", text, "lower risk.max_notional or transfer more")
        if wanted > room:
            text = f"{found[-1]}: all positions at their largest come to {wanted:.2f}, it carries {room:.2f}"
            return warned(
                "balance",
                text,
                "the last entries will be cut: lower max_position_pct or raise venue.leverage",
            )
    over = "" if context.is_paper else _over_bracket(context)
    if over:
        return failed("balance", over, "lower venue.leverage or the sizing")
    return ok("balance", "; ".join(found))


def _wanted_notional(context: Context, equity: float) -> float:
    run = context.run
    each = [equity * s.sizing.max_position_pct / 100.0 for s in run.strategies]
    caps = [equity * run.risk.portfolio.max_gross_pct / 100.0, equity * run.risk.max_leverage]
    if run.risk.max_notional is not None:
        caps.append(run.risk.max_notional)
    return min(sum(each), *caps)


def _over_bracket(context: Context) -> str:
    """A position larger than the venue allows at the symbol's leverage."""
    for strategy in context.run.strategies:
        symbol = symbol_of(strategy.instrument)
        equity = float(context.balances.of(context.rules(symbol).margin_asset).margin_balance)
        most = context.settings[symbol].maximum_notional
        largest = equity * strategy.sizing.max_position_pct / 100.0
        if 0 < most < largest:
            return f"{symbol}: up to {largest:.0f} is wanted, the venue allows {most:f} at its leverage"
    return ""
