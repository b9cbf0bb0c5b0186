"""A rehearsal spot venue with BTCUSDT (and BNBUSDT) for tests; the keys are those of `rehearsal_server`."""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from live.rehearsal.book import Quote, Trade
from live.rehearsal.serving.server import RehearsalServer, ServerThread
from live.rehearsal.specs import SymbolSpec
from live.rehearsal.spot.events import ExecutionReport, ListStatus
from live.rehearsal.spot.orders import SpotRequest
from live.rehearsal.spot.venue import SpotVenue
from tests.rehearsal_server import START_MS, D, keys

API = "/api/v3/"


def spot_spec(symbol: str = "BTCUSDT") -> SymbolSpec:
    """BTCUSDT's filters of August 2025, and coarser ones for BNBUSDT."""
    base = symbol.removesuffix("USDT")
    step = D("0.00001") if base == "BTC" else D("0.001")
    return SymbolSpec(
        symbol=symbol,
        base=base,
        quote="USDT",
        margin_asset="USDT",
        tick=D("0.01"),
        min_price=D("0.01"),
        max_price=D("1000000"),
        price_precision=8,
        step=step,
        min_quantity=step,
        max_quantity=D("9000"),
        market_step=step,
        market_min_quantity=D(0),
        market_max_quantity=D("100"),
        quantity_precision=8,
        min_notional=D("5"),
        multiplier_up=D("5"),
        multiplier_down=D("0.2"),
        max_orders=6,
        max_algo_orders=2,
        brackets=(),
    )


def quote(bid: str, ask: str, size: str = "5", *, at: int = 0, symbol: str = "BTCUSDT") -> Quote:
    """A quote `at` milliseconds after the start."""
    return Quote(START_MS + at, symbol, D(bid), D(size), D(ask), D(size))


def trade(price: str, size: str = "1", *, at: int = 0, buyer_maker: bool = True) -> Trade:
    """A trade."""
    return Trade(START_MS + at, "BTCUSDT", D(price), D(size), buyer_maker)


def make_venue(usdt: str = "10000", btc: str = "0", **options: Any) -> SpotVenue:
    """A venue with 0.1 % fees and the market at 50000.00 x 50000.01, 5 BTC each."""
    symbols = options.pop("symbols", ("BTCUSDT",))
    balances = {"USDT": D(usdt), "BTC": D(btc)} | options.pop("balances", {})
    venue = SpotVenue([spot_spec(s) for s in symbols], balances=balances, now_ms=START_MS, **options)
    venue.apply(quote("50000.00", "50000.01"))
    venue.apply(trade("50000.00"))
    venue.drain()
    return venue


def ask(side: str, kind: str, quantity: str | None = None, **more: str) -> SpotRequest:
    """A BTCUSDT request; prices as texts."""
    numbers = {n: D(more.pop(n)) for n in ("price", "stop_price", "quote_quantity") if n in more}
    if kind.endswith("LIMIT"):
        more.setdefault("time_in_force", "GTC")
    return SpotRequest(
        symbol="BTCUSDT",
        side=side,
        type=kind,
        quantity=None if quantity is None else D(quantity),
        **numbers,
        **more,
    )


def balance(venue: SpotVenue, asset: str) -> tuple[Decimal, Decimal]:
    """Free and locked."""
    found = {each.asset: each for each in venue.balances("main")}[asset]
    return found.free, found.locked


def told(venue: SpotVenue) -> list[str]:
    """What the account was told since the last call: executions with type and status, lists, balances."""
    lines = []
    for event in venue.drain():
        if isinstance(event, ExecutionReport):
            lines.append(f"{event.execution} {event.order.type} {event.order.status}")
        elif isinstance(event, ListStatus):
            lines.append(f"list {event.order_list.order_status}")
        elif hasattr(event, "balances"):
            lines.append("balances")
    return lines


def make_spot_server(usdt: str = "10000", btc: str = "0", **options: Any) -> RehearsalServer[SpotVenue]:
    """A server of `make_venue`."""
    return RehearsalServer(make_venue(usdt, btc), keys(), **options)


@contextmanager
def spot_running(server: RehearsalServer[SpotVenue] | None = None) -> Iterator[ServerThread]:
    """A server on its own thread."""
    with ServerThread(server or make_spot_server()) as thread:
        yield thread
