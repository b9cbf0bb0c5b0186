"""A rehearsal venue with round numbers: BTCUSDT and ETHUSDT, 10,000 USDT, 20x, 0.02 % maker, 0.05 % taker.

BTCUSDT's rules are those of the exchangeInfo of August 2025. `hand_venue` starts with BTC at bid 50,000.0 and
ask 50,000.1, one BTC each, mark 50,000 and a last trade at 50,000.
"""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from live.rehearsal.book import Depth, MarkPrice, Quote, Trade
from live.rehearsal.errors import VenueError
from live.rehearsal.futures.events import (
    AccountConfigUpdate,
    AccountUpdate,
    AlgoUpdate,
    MarginCall,
    OrderUpdate,
    PositionView,
)
from live.rehearsal.futures.orders import AlgoOrder, Order, OrderRequest
from live.rehearsal.futures.venue import Venue
from live.rehearsal.specs import BRACKETS, SymbolSpec

D = Decimal
START_MS = 1_700_000_000_000

BTC = SymbolSpec(
    symbol="BTCUSDT",
    base="BTC",
    quote="USDT",
    margin_asset="USDT",
    tick=D("0.1"),
    min_price=D("556.8"),
    max_price=D(4529764),
    price_precision=2,
    step=D("0.001"),
    min_quantity=D("0.001"),
    max_quantity=D(1000),
    market_step=D("0.001"),
    market_min_quantity=D("0.001"),
    market_max_quantity=D(120),
    quantity_precision=3,
    min_notional=D(100),
    multiplier_up=D("1.05"),
    multiplier_down=D("0.95"),
    brackets=BRACKETS["major"],
)
ETH = replace(
    BTC,
    symbol="ETHUSDT",
    base="ETH",
    tick=D("0.01"),
    min_price=D("39.86"),
    max_price=D(306177),
    max_quantity=D(10000),
    market_max_quantity=D(2000),
    min_notional=D(20),
)


def hand_venue(**options: Any) -> Venue:
    balances = options.pop("balances", {"USDT": D(10000)})
    specs = options.pop("specs", (BTC, ETH))
    venue = Venue(specs, balances=balances, now_ms=START_MS, **options)
    mark(venue, "50000")
    quote(venue, "50000.0", "50000.1")
    trade(venue, "50000.0", "0.001")
    venue.drain()
    return venue


def quote(venue: Venue, bid: str, ask: str, size: str = "1", symbol: str = "BTCUSDT") -> None:
    venue.apply(Quote(venue.now_ms + 1, symbol, D(bid), D(size), D(ask), D(size)))


def depth(
    venue: Venue,
    bids: Sequence[tuple[str, str]],
    asks: Sequence[tuple[str, str]],
    symbol: str = "BTCUSDT",
) -> None:
    levels = [tuple((D(price), D(size)) for price, size in side) for side in (bids, asks)]
    venue.apply(Depth(venue.now_ms + 1, symbol, levels[0], levels[1]))


def trade(venue: Venue, price: str, size: str = "1", *, sold: bool = True, symbol: str = "BTCUSDT") -> None:
    venue.apply(Trade(venue.now_ms + 1, symbol, D(price), D(size), sold))


def mark(venue: Venue, price: str, symbol: str = "BTCUSDT") -> None:
    venue.apply(MarkPrice(venue.now_ms + 1, symbol, D(price), D(price)))


def request(side: str, kind: str, quantity: str | None = None, **values: Any) -> OrderRequest:
    """A request with numbers as text; a LIMIT is GTC unless said otherwise."""
    texts = ("price", "trigger_price", "activation_price", "callback_rate")
    numbers: dict[str, Any] = {name: D(values.pop(name)) for name in texts if values.get(name) is not None}
    if kind == "LIMIT":
        values.setdefault("time_in_force", "GTC")
    values.setdefault("symbol", "BTCUSDT")
    size = None if quantity is None else D(quantity)
    return OrderRequest(side=side, type=kind, quantity=size, **numbers, **values)


def buy(venue: Venue, quantity: str, price: str | None = None, **values: Any) -> Order:
    return venue.place(
        "main", request("BUY", "LIMIT" if price else "MARKET", quantity, price=price, **values)
    )


def sell(venue: Venue, quantity: str, price: str | None = None, **values: Any) -> Order:
    return venue.place(
        "main", request("SELL", "LIMIT" if price else "MARKET", quantity, price=price, **values)
    )


def algo(venue: Venue, side: str, kind: str, quantity: str | None = None, **values: Any) -> AlgoOrder:
    return venue.place_algo("main", request(side, kind, quantity, **values))


def position(venue: Venue, side: str = "BOTH", symbol: str = "BTCUSDT") -> PositionView:
    return next(view for view in venue.positions("main", symbol) if view.side == side)


def wallet(venue: Venue, asset: str = "USDT") -> Decimal:
    return next(view.wallet for view in venue.account_view("main").assets if view.asset == asset)


def fills(venue: Venue) -> list[tuple[Decimal, Decimal, bool]]:
    """(price, quantity, maker) of every fill so far."""
    return [(t.price, t.quantity, t.maker) for t in venue.user_trades("main")]


def story(venue: Venue) -> list[str]:
    """The user events since the last look, in short: kind and what happened."""
    words = []
    for event in venue.drain():
        match event:
            case OrderUpdate():
                words.append(f"OrderUpdate {event.execution} {event.order.status}")
            case AlgoUpdate():
                words.append(f"AlgoUpdate {event.order.status}")
            case AccountUpdate():
                words.append(f"AccountUpdate {event.reason}")
            case MarginCall() | AccountConfigUpdate():
                words.append(type(event).__name__)
    return words


def refused(code: int) -> Any:
    """Expect the refusal of a code: `with refused(-2019) as caught: ...`."""
    return pytest.raises(VenueError, match=f"^{code}: ")
