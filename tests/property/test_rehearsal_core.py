"""Random orders in random markets: what must hold of the rehearsal venue after every single step.

A `Watcher` keeps its own books from the events alone: positions, cash, each order's last state, and the sizes
that the book and the trades had to offer, and compares them with what the venue says.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection
from decimal import Decimal
from random import Random
from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from live.rehearsal.book import Depth, MarketEvent, MarkPrice, Quote, Trade
from live.rehearsal.errors import VenueError
from live.rehearsal.futures.events import AccountUpdate, AlgoUpdate, OrderUpdate
from live.rehearsal.futures.orders import ALGO_TYPES, Order, OrderRequest
from live.rehearsal.futures.venue import Venue
from tests.hand_venue import BTC, ETH, START_MS

D = Decimal
ENDED = {"FILLED", "CANCELED", "EXPIRED"}
NEXT = {
    "NEW": {"NEW", "PARTIALLY_FILLED", "FILLED", "CANCELED", "EXPIRED"},
    "PARTIALLY_FILLED": {"PARTIALLY_FILLED", "FILLED", "CANCELED", "EXPIRED"},
}
ALGO_NEXT = {
    "NEW": {"TRIGGERING", "CANCELED", "EXPIRED"},
    "TRIGGERING": {"TRIGGERED", "REJECTED"},
    "TRIGGERED": {"FINISHED"},
}
SYMBOLS = ("BTCUSDT", "ETHUSDT")
BASE = {"BTCUSDT": 50_000, "ETHUSDT": 3_000}
STEPS = st.integers(-60, 60)
SIZES = st.integers(1, 40)


class Step(NamedTuple):
    """One thing that happens: its kind and plain numbers that each kind reads its own way."""

    kind: str
    symbol: str
    side: str
    near: int
    size: int
    choice: int


KINDS: tuple[str, ...] = (
    "quote",
    "quote",
    "trade",
    "trade",
    "mark",
    "limit",
    "limit",
    "market",
    "algo",
    "close",
    "cancel",
)
KINDS += ("modify", "funding", "leverage", "exit", "margin")
SCENES = st.lists(
    st.builds(
        Step,
        kind=st.sampled_from(KINDS),
        symbol=st.sampled_from(SYMBOLS),
        side=st.sampled_from(["BUY", "SELL"]),
        near=STEPS,
        size=SIZES,
        choice=st.integers(0, 11),
    ),
    min_size=5,
    max_size=50,
)


def price(symbol: str, near: int, tick: str = "0.1") -> Decimal:
    """The base price moved by `near` thousandths."""
    return (D(BASE[symbol]) * (1000 + near) / 1000 // D(tick)) * D(tick)


def size(symbol: str, count: int) -> Decimal:
    """From 0.05 BTC or 1 ETH in equal steps."""
    return (D("0.05") if symbol == "BTCUSDT" else D(1)) * count


class Watcher:
    """Books kept from the outside."""

    def __init__(self, venue: Venue) -> None:
        self.venue = venue
        self.positions: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
        self.orders: dict[int, Order] = {}
        self.algos: dict[int, str] = {}
        self.starting = self.wallet = venue.account_view("main").assets[0].wallet
        self.offered: dict[tuple[str, str, Decimal], Decimal] = {}
        self.seen = 0
        self.fills = 0

    def step(self, act: Callable[[], Any], event: MarketEvent | None = None) -> None:
        """Do one thing and check everything about it."""
        self._offer(event)
        budget = event.quantity if isinstance(event, Trade) else None
        try:
            act()
        except VenueError:
            assert self.venue.drain() == []
            return
        met = D(0)
        for told in self.venue.drain():
            if isinstance(told, OrderUpdate):
                met += self._order(told, event)
            elif isinstance(told, AlgoUpdate):
                before = self.algos.get(told.order.algo_id)
                assert (
                    told.order.status == "NEW" if before is None else told.order.status in ALGO_NEXT[before]
                )
                self.algos[told.order.algo_id] = told.order.status
            elif isinstance(told, AccountUpdate):
                self.wallet = told.balances[0].wallet
        assert budget is None or met <= budget
        self._compare()

    def _offer(self, event: MarketEvent | None) -> None:
        if isinstance(event, Depth):
            pairs = {"BUY": event.asks, "SELL": event.bids}
        elif isinstance(event, Quote):
            pairs = {"BUY": ((event.ask, event.ask_quantity),), "SELL": ((event.bid, event.bid_quantity),)}
        else:
            return
        self.offered = {key: left for key, left in self.offered.items() if key[0] != event.symbol}
        for side, levels in pairs.items():
            for level, left in levels:
                self.offered[event.symbol, side, level] = left

    def _order(self, told: OrderUpdate, event: MarketEvent | None) -> Decimal:
        order, before = told.order, self.orders.get(told.order.order_id)
        if before is None:
            assert (order.status, order.executed) == ("NEW", D(0))
        else:
            assert order.status in NEXT.get(before.status, set())
        fill = told.trade
        assert (fill is not None) == (order.executed != (before.executed if before else 0))
        self.orders[order.order_id] = order
        if fill is None:
            return D(0)
        assert before is not None
        assert order.executed - before.executed == fill.quantity
        assert order.executed <= order.quantity
        self.fills += 1
        self._move(order, fill.quantity)
        if not fill.maker:
            # A taker trades at a level of the book and takes what was there.
            self.offered[order.symbol, order.side, fill.price] -= fill.quantity
            assert self.offered[order.symbol, order.side, fill.price] >= 0
            assert order.type != "LIMIT" or _reaches(order, fill.price)
            return D(0)
        assert fill.price == order.price
        assert event is not None
        if isinstance(event, Trade):
            assert _reaches(order, event.price)
            return fill.quantity
        self._eat(order, fill.quantity)
        return D(0)

    def _eat(self, order: Order, quantity: Decimal) -> None:
        """A resting order that a quote crossed is filled from the levels that cross it."""
        levels = [key for key in self.offered if key[:2] == (order.symbol, order.side)]
        for key in sorted(levels, key=lambda key: key[2], reverse=order.side == "SELL"):
            if _reaches(order, key[2]):
                eaten = min(quantity, self.offered[key])
                self.offered[key] -= eaten
                quantity -= eaten
        assert quantity == 0

    def _move(self, order: Order, quantity: Decimal) -> None:
        key = (order.symbol, order.position_side)
        before = self.positions[key]
        after = before + (quantity if order.side == "BUY" else -quantity)
        if order.reduce_only:
            assert before * after >= 0
            assert abs(after) < abs(before)
        self.positions[key] = after

    def _compare(self) -> None:
        venue = self.venue
        (asset,) = venue.account_view("main").assets
        own = {(v.symbol, v.side): v for v in venue.positions("main")}
        assert asset.cross_wallet == asset.wallet - sum(view.isolated_wallet for view in own.values())
        for view in own.values():
            assert not view.isolated_wallet or (view.isolated and view.amount)
        if all(view.isolated for view in own.values()):
            assert asset.cross_wallet >= 0
        entries = venue.income("main")
        assert asset.wallet == self.wallet == self.starting + sum(entry.amount for entry in entries)
        assert venue.income_totals("main")["USDT"] == sum(entry.amount for entry in entries)
        trades = venue.user_trades("main")
        for kind, amounts in (
            ("REALIZED_PNL", [trade.realized for trade in trades]),
            ("COMMISSION", [-trade.commission for trade in trades]),
        ):
            assert sum(e.amount for e in entries if e.kind == kind) == sum(amounts)
        for view in venue.positions("main"):
            assert view.amount == self.positions[view.symbol, view.side]
        open_now = {order.order_id: order for order in venue.open_orders("main")}
        assert open_now == {n: order for n, order in self.orders.items() if order.status not in ENDED}
        for order in open_now.values():
            held = self.positions[order.symbol, order.position_side]
            assert not order.reduce_only or order.remaining <= abs(held)
        waiting = {order.algo_id for order in venue.open_algo_orders("main")}
        assert waiting == {number for number, status in self.algos.items() if status == "NEW"}
        self._cash(trades)

    def _cash(self, trades: list[Any]) -> None:
        """Realised and unrealised profit are the cash that went in and out, but for the rounding."""
        for symbol in SYMBOLS:
            flows = [t.quote_quantity * (-1 if t.side == "BUY" else 1) for t in trades if t.symbol == symbol]
            realized = sum((t.realized for t in trades if t.symbol == symbol), D(0))
            open_cost = sum(v.amount * v.entry_price for v in self.venue.positions("main", symbol))
            assert abs(sum(flows, D(0)) - (realized - open_cost)) <= D("1e-8") * (len(flows) + 1)


def _reaches(order: Order, level: Decimal) -> bool:
    return order.price >= level if order.side == "BUY" else order.price <= level


def _request(step: Step, hedge: bool, **values: Any) -> OrderRequest:
    if hedge:
        values["position_side"] = "LONG" if step.choice % 2 else "SHORT"
        values.pop("reduce_only", None)
    return OrderRequest(symbol=step.symbol, side=step.side, **values)


def _market_event(venue: Venue, step: Step) -> MarketEvent | None:
    now, symbol = venue.now_ms + 1000, step.symbol
    middle, amount = price(symbol, step.near), size(symbol, step.size)
    if step.kind == "quote" and step.choice < 6:
        # A third of the books are several levels deep, a few are crossed.
        gap = D(-1 if step.choice == 5 else 1) / 10
        return Quote(now, symbol, middle, amount, middle + gap, amount)
    if step.kind == "quote":
        levels = range(1, 4)
        return Depth(
            now,
            symbol,
            tuple((middle - n, amount * n) for n in levels),
            tuple((middle + n, amount * n) for n in levels),
        )
    if step.kind == "trade":
        return Trade(now, symbol, middle, amount, step.side == "SELL")
    return MarkPrice(now, symbol, middle, middle) if step.kind == "mark" else None


def _new_order(step: Step, hedge: bool) -> OrderRequest:
    quantity = size(step.symbol, step.size)
    reduce_only = step.choice in {0, 1, 2}
    if step.kind == "market":
        return _request(step, hedge, type="MARKET", quantity=quantity, reduce_only=reduce_only)
    times = ("GTC", "GTC", "GTC", "IOC", "FOK", "GTX")
    return _request(
        step,
        hedge,
        type="LIMIT",
        quantity=quantity,
        price=price(step.symbol, step.near // 2),
        time_in_force=times[step.choice % 6],
        reduce_only=reduce_only,
    )


def _new_algo(step: Step, hedge: bool) -> OrderRequest:
    kind = ALGO_TYPES[step.choice % 5]
    values: dict[str, Any] = {"type": kind, "working_type": ("MARK_PRICE", "CONTRACT_PRICE")[step.size % 2]}
    near = price(step.symbol, step.near)
    if kind == "TRAILING_STOP_MARKET":
        values["callback_rate"] = D(step.size % 20 + 1) / 10
    else:
        values["trigger_price"] = near
    if kind in {"STOP", "TAKE_PROFIT"}:
        values["price"] = near
    if step.kind == "close":
        values.update(type="STOP_MARKET", trigger_price=near, close_position=True)
        values = {n: v for n, v in values.items() if n not in {"price", "callback_rate"}}
    else:
        values.update(quantity=size(step.symbol, step.size), reduce_only=step.choice > 5)
    return _request(step, hedge, **values)


def _request_action(venue: Venue, step: Step, hedge: bool) -> Callable[[], Any]:
    actions: dict[str, Callable[[], Any]] = {
        "limit": lambda: _enter(venue, _new_order(step, hedge)),
        "market": lambda: _enter(venue, _new_order(step, hedge)),
        "algo": lambda: venue.place_algo("main", _new_algo(step, hedge)),
        "close": lambda: venue.place_algo("main", _new_algo(step, hedge)),
        "leverage": lambda: venue.set_leverage("main", step.symbol, (5, 20, 50, 125)[step.choice % 4]),
        "exit": lambda: _exit(venue, step.symbol),
        "margin": lambda: _adjust(venue, step, hedge),
        "funding": lambda: venue.settle_funding(step.symbol, D(step.near) / 10_000, venue.now_ms + 1000),
    }
    return actions.get(step.kind) or (lambda: _change(venue, step))


def _change(venue: Venue, step: Step) -> None:
    """Cancel or modify one of the open orders."""
    open_orders = venue.open_orders("main")
    if not open_orders:
        return
    order = open_orders[step.choice % len(open_orders)]
    if step.kind == "cancel":
        venue.cancel("main", order.symbol, order.order_id)
        return
    quantity, limit = size(order.symbol, step.size), price(order.symbol, step.near // 2)
    venue.modify("main", order.symbol, order.order_id, side=order.side, quantity=quantity, price=limit)


def _enter(venue: Venue, request: OrderRequest) -> None:
    """Place an order; one that rests untouched and raised the margin must have been covered."""
    (before,) = venue.account_view("main").assets
    order = venue.place("main", request)
    (after,) = venue.account_view("main").assets
    if order.executed == 0 and after.initial_margin > before.initial_margin:
        assert after.margin_balance >= after.initial_margin - D("1e-8")
        view = next(v for v in venue.positions("main", order.symbol) if v.side == order.position_side)
        assert view.initial_margin * view.leverage <= view.maximum_notional + D("1e-6")


def _adjust(venue: Venue, step: Step, hedge: bool) -> None:
    place = ("LONG" if step.choice % 2 else "SHORT") if hedge else "BOTH"
    venue.adjust_margin("main", step.symbol, D(step.near), place)


def _exit(venue: Venue, symbol: str) -> None:
    view = next((view for view in venue.positions("main", symbol) if view.amount), None)
    if view is not None:
        side = "SELL" if view.amount > 0 else "BUY"
        size, place = abs(view.amount), view.side
        venue.place(
            "main",
            OrderRequest(symbol=symbol, side=side, type="MARKET", quantity=size, position_side=place),
        )


def run(
    scene: list[Step], *, hedge: bool, slices: int, usdt: int = 10_000, isolated: Collection[str] = ()
) -> tuple[Venue, Watcher]:
    venue = Venue([BTC, ETH], balances={"USDT": D(usdt)}, now_ms=START_MS)
    venue.set_fill_slices(slices)
    if hedge:
        venue.set_position_mode("main", True)
    for symbol in isolated:
        venue.set_margin_type("main", symbol, "ISOLATED")
    venue.drain()
    watcher = Watcher(venue)
    opening = [Step(kind, symbol, "BUY", 0, 10, 0) for symbol in SYMBOLS for kind in ("mark", "quote")]
    for step in [*opening, *scene]:
        event = _market_event(venue, step)
        if event is not None:
            watcher.step(lambda event=event: venue.apply(event), event)  # type: ignore[misc]
        else:
            watcher.step(_request_action(venue, step, hedge))
    return venue, watcher


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    scene=SCENES,
    hedge=st.booleans(),
    slices=st.integers(1, 3),
    usdt=st.sampled_from([1_500, 10_000]),
    isolated=st.sampled_from([(), ("BTCUSDT",), SYMBOLS]),
)
def test_the_books_agree_after_every_step(
    scene: list[Step], hedge: bool, slices: int, usdt: int, isolated: Collection[str]
) -> None:
    run(scene, hedge=hedge, slices=slices, usdt=usdt, isolated=isolated)


def test_long_random_lives_reach_every_corner() -> None:
    """The same checks over long scenes, and proof that they saw something."""
    seen: Counter[str] = Counter()
    for seed in range(24):
        numbers = Random(seed)
        scene = [
            Step(
                numbers.choice(KINDS),
                numbers.choice(SYMBOLS),
                numbers.choice(["BUY", "SELL"]),
                numbers.randint(-60, 60),
                numbers.randint(1, 40),
                numbers.randint(0, 11),
            )
            for _ in range(400)
        ]
        venue, watcher = run(
            scene,
            hedge=seed % 3 == 0,
            slices=1 + seed % 2,
            usdt=(1_500, 10_000)[seed % 4 > 2],
            isolated=((), (), ("BTCUSDT",), SYMBOLS)[seed % 4],
        )
        seen["margin"] += len(venue.margin_changes("main", "BTCUSDT"))
        seen["isolated and forced"] += sum(
            venue.margin_type("main", order.symbol) == "ISOLATED" for order in venue.forced_orders("main")
        )
        seen.update(order.status for order in watcher.orders.values())
        seen.update(f"algo {status}" for status in watcher.algos.values())
        seen.update(entry.kind for entry in venue.income("main"))
        seen["maker"] += sum(trade.maker for trade in venue.user_trades("main"))
        seen["taker"] += sum(not trade.maker for trade in venue.user_trades("main"))
        seen["forced"] += len(venue.forced_orders("main"))
        seen["amended"] += sum(order.amendments > 0 for order in watcher.orders.values())
    for corner in ("FILLED", "CANCELED", "EXPIRED", "maker", "taker", "amended"):
        assert seen[corner] > 20, (corner, seen)
    for corner in (
        "algo FINISHED",
        "algo EXPIRED",
        "algo REJECTED",
        "FUNDING_FEE",
        "INSURANCE_CLEAR",
        "forced",
        "isolated and forced",
        "margin",
    ):
        assert seen[corner] > 5, (corner, seen)


@settings(max_examples=20, deadline=None)
@given(scene=SCENES, cut=st.integers(0, 50))
def test_equal_histories_end_equal_and_survive_a_snapshot(scene: list[Step], cut: int) -> None:
    one, watcher = run(scene, hedge=False, slices=1, isolated=("ETHUSDT",))
    other, _ = run(scene, hedge=False, slices=1, isolated=("ETHUSDT",))
    memory = one.snapshot()
    assert memory == other.snapshot()
    fresh = Venue([BTC, ETH], balances={"USDT": D(0)})
    fresh.restore(json.loads(json.dumps(memory)))
    assert fresh.snapshot() == memory
    assert {o.order_id for o in fresh.open_orders("main")} == {
        n for n, order in watcher.orders.items() if order.status not in ENDED
    }
