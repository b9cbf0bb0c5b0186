"""Whether an intent may be sized at all, and what the account's limits leave for it. Pure; nothing to bypass.

Layers in a fixed order, each of which lets pass or refuses with its limit and the value that broke it. Every
comparison is written so that NaN refuses.
"""

import math

from configs.schema import RunConfig
from strategies.values import Account, Book, Headroom, Intent, Refused, RiskLimits, RiskView

__all__ = ["authorise", "risk_limits_from"]

_NS_PER_SEC = 1_000_000_000
_MAX_MULTIPLIER = 3.0  # the guard never asks for more


def risk_limits_from(run: RunConfig) -> RiskLimits:
    """The account's limits as fractions and nanoseconds; no list of symbols means those of the run."""
    position, portfolio = run.risk.position, run.risk.portfolio
    max_age_secs = run.risk.mode_max_age_secs + run.data.bar_secs
    return RiskLimits(
        symbols=frozenset(run.instruments if position.symbols is None else position.symbols),
        max_positions=position.max_positions,
        max_positions_per_symbol=position.max_positions_per_symbol,
        max_open_orders=position.max_open_orders,
        price_sanity=position.price_sanity_pct / 100.0,
        max_gross=portfolio.max_gross_pct / 100.0,
        max_net=portfolio.max_net_pct / 100.0,
        max_side=portfolio.max_side_pct / 100.0,
        max_cluster_risk=portfolio.max_cluster_risk_pct / 100.0,
        mode_max_age=round(max_age_secs * _NS_PER_SEC),
    )


def authorise(
    intent: Intent,
    *,
    instrument: str,
    ts_event: int,
    price: float,
    last_price: float,
    account: Account,
    book: Book,
    mode: RiskView | None,
    limits: RiskLimits,
    last_intent: tuple[int, int] | None = None,
    adding: bool = False,
) -> Refused | Headroom:
    """Hold an intent against the account's limits at `ts_event` (ns UTC).

    `price` is what the order would be sent at, `last_price` the last quote or close of the market;
    `last_intent` the (ts_event, side) of the last one that was sent. `adding`: the intent adds to this
    instrument's open position, so it takes no new place among the positions.

    The checks, in this order: symbol, duplicate_intent, mode_missing, mode_stale, mode_paused, mode_halted,
    mode_unknown, mode_multiplier, blocked:<reason>, price_sanity, max_positions, max_positions_per_symbol,
    max_open_orders, side, equity, max_gross, max_net, max_side, max_cluster_risk. The last four refuse only
    when nothing is left; what is left bounds the size (`Headroom`).
    """
    return (
        _symbol(instrument, limits)
        or _duplicate(intent, ts_event, last_intent)
        or _mode(mode, ts_event, limits)
        or _price(price, last_price, limits)
        or _places(instrument, book, limits, adding)
        or _orders(book, limits)
        or _values(intent, account)
        or _headroom(intent.side, instrument, account.equity, book, mode, limits)
    )


def _symbol(instrument: str, limits: RiskLimits) -> Refused | None:
    return None if instrument in limits.symbols else Refused("symbol", float(len(limits.symbols)), 0.0)


def _duplicate(intent: Intent, ts_event: int, last: tuple[int, int] | None) -> Refused | None:
    """One intent a bar and side; a bar before that of the last intent was delivered again and is none."""
    if last is None or ts_event > last[0] or (ts_event == last[0] and intent.side != last[1]):
        return None
    return Refused("duplicate_intent", 0.0, (ts_event - last[0]) / _NS_PER_SEC)


def _mode(mode: RiskView | None, ts_event: int, limits: RiskLimits) -> Refused | None:
    """A mode from far ahead is as little to be trusted as an old one: it would never grow stale."""
    max_age_secs = limits.mode_max_age / _NS_PER_SEC
    if mode is None:
        return Refused("mode_missing", max_age_secs, math.inf)
    age = ts_event - mode.ts_event
    if not -limits.mode_max_age <= age <= limits.mode_max_age:
        return Refused("mode_stale", max_age_secs, age / _NS_PER_SEC)
    if mode.mode not in ("NORMAL", "REDUCED"):
        known = mode.mode.lower() if mode.mode in ("PAUSED", "HALTED") else "unknown"
        return Refused(":".join((f"mode_{known}", *mode.reasons[:1])), 1.0, 0.0)
    if not 0.0 < mode.multiplier <= _MAX_MULTIPLIER:
        return Refused("mode_multiplier", _MAX_MULTIPLIER, mode.multiplier)
    return None if mode.blocked is None else Refused(f"blocked:{mode.blocked}", 1.0, 0.0)


def _price(price: float, last_price: float, limits: RiskLimits) -> Refused | None:
    if not (0.0 < price < math.inf and 0.0 < last_price < math.inf):
        return Refused("price_sanity", last_price, price)
    away = abs(price / last_price - 1.0)
    return None if away <= limits.price_sanity else Refused("price_sanity", limits.price_sanity, away)


def _places(instrument: str, book: Book, limits: RiskLimits, adding: bool) -> Refused | None:
    """The venue nets: an instrument is one position in the total, its entries under way are in it."""
    if adding:
        return None
    held = {name for name, notional in book.positions.items() if notional != 0.0}
    pending = {name for name, count in book.entries_pending.items() if count > 0}
    total = len(held | pending) + (instrument not in held | pending)
    if not total <= limits.max_positions:
        return Refused("max_positions", float(limits.max_positions), float(total))
    here = (instrument in held) + book.entries_pending.get(instrument, 0) + 1
    if not here <= limits.max_positions_per_symbol:
        return Refused("max_positions_per_symbol", float(limits.max_positions_per_symbol), float(here))
    return None


def _orders(book: Book, limits: RiskLimits) -> Refused | None:
    after = book.open_orders + 1
    if after <= limits.max_open_orders:
        return None
    return Refused("max_open_orders", float(limits.max_open_orders), float(after))


def _values(intent: Intent, account: Account) -> Refused | None:
    if intent.side not in (1, -1):
        return Refused("side", 1.0, float(intent.side))
    return None if 0.0 < account.equity < math.inf else Refused("equity", 0.0, account.equity)


def _headroom(
    side: int, instrument: str, equity: float, book: Book, mode: RiskView | None, limits: RiskLimits
) -> Refused | Headroom:
    """What is left under each limit: its amount less what is taken already, of the intent's side.

    On the other side's net exposure an entry has more room than the limit: it first has to undo that. In a
    cluster risks add up whatever their sides: an opposite position may lose as well, and is no credit.
    """
    cluster = sorted({instrument, *(() if mode is None else mode.cluster)})
    rows = (
        ("max_gross", limits.max_gross * equity, book.gross),
        ("max_net", limits.max_net * equity, side * book.net),
        ("max_side", limits.max_side * equity, book.on_side(side)),
        ("max_cluster_risk", limits.max_cluster_risk * equity, sum(map(book.risk_of, cluster))),
    )
    for name, limit, taken in rows:
        if not limit - taken > 0.0:
            return Refused(name, limit, taken)
    left = {name: limit - taken for name, limit, taken in rows}
    return Headroom(
        multiplier=0.0 if mode is None else mode.multiplier,
        risk_caps={"max_cluster_risk": left.pop("max_cluster_risk")},
        notional_caps=left,
        held=abs(book.positions.get(instrument, 0.0)),
        held_risk=book.risk_of(instrument),
    )
