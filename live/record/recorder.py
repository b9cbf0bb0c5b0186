"""Writes down what is decided and what it was decided on: the audit stream, and the market data's writer.

Beside what is said on the audit topic these lines are written:

| kind | what |
|---|---|
| node | started (with what), sockets connecting and disconnecting, stopping, stopped |
| bar | each bar as it came |
| quote | the quote that a decision or an action rests on, before it |
| forecast | each model's, at each bar |
| order | every event of every order with all that the engine knows of it; fills with ids and commission |
| position | each one that the venue had when the node started; its orders as kind order, event found |
| trade | an entry sent, a trade closed, an order refused: what the guard counts |
| funding, account | a rate that changed; balances and margins as the venue reported them |
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from nautilus_trader.common import DataActor, DataActorConfig, SocketState, SocketStateChanged
from nautilus_trader.model import (
    ActorId,
    Bar,
    BarType,
    ClientOrderId,
    FundingRateUpdate,
    InstrumentId,
    QuoteTick,
    TradeTick,
    Venue,
)

from actors.alarms import alarm
from actors.bar_time import closed_at, length_ns
from actors.faults import fail_loud, guarded
from actors.messages import (
    AUDIT_TOPIC,
    ORDER_TOPIC,
    SENTIMENT_TOPIC,
    TRADING_TOPIC,
    AuditRecord,
    Forecast,
    OrderTold,
    Sentiment,
    forecast_topic,
)
from live.record.audit_file import AuditFile
from live.record.recording import MarketWriter
from live.record.settlements import Settlements
from models.exogenous import FEAR_GREED, KnownSeries

__all__ = ["Recorder"]

_LOOK_NS = 1_000_000_000
_QUOTED = frozenset({"intent", "action"})
_TOLD_IDS = 512
_LEFT_OUT = frozenset({"type", "event_type", "trader_id", "strategy_id", "instrument_id", "client_order_id"})


@fail_loud
class Recorder(DataActor):
    """One a node. `market` takes bars, funding, quotes when `keeps_quotes`, and trades when `keeps_trades`.

    It takes the values of `index` as well, each once it counts, and the funding that `settlements` finds.
    `facts` are told with the start.
    """

    component_name = "recorder"

    def __new__(cls, *_: object, **__: object) -> "Recorder":
        """The engine takes a component's identity when the object is made."""
        return super().__new__(cls, DataActorConfig(actor_id=ActorId("RECORDER-001")))  # type: ignore[call-arg]

    def __init__(
        self,
        file: AuditFile,
        bar_types: tuple[BarType, ...],
        *,
        market: MarketWriter | None = None,
        keeps_quotes: bool = False,
        keeps_trades: bool = False,
        index: KnownSeries | None = None,
        settlements: Settlements | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(DataActorConfig(actor_id=ActorId("RECORDER-001")))
        self.failure: BaseException | None = None
        self._file = file
        self._bar_types = bar_types
        self._market = market
        self._keeps_quotes = keeps_quotes and market is not None
        self._keeps_trades = keeps_trades and market is not None
        self._index = index
        self._settlements = settlements
        self._learned = 0
        self._facts = dict(facts or {})
        self._ids: dict[str, InstrumentId] = {
            str(kind.instrument_id): kind.instrument_id for kind in bar_types
        }
        self._quoted: dict[str, tuple[int, int]] = {}
        self._told: dict[str, None] = {}
        self._funding: dict[str, tuple[str, int | None]] = {}
        self._account = ""
        self._sockets: dict[str, SocketState] = {}
        self._audit_drops = self._market_drops = 0
        self._had_error = False

    def on_start(self) -> None:
        """Listen."""
        self.subscribe_topic(AUDIT_TOPIC, self._on_audit)
        self.subscribe_topic(ORDER_TOPIC, self._on_order)
        self.subscribe_topic(TRADING_TOPIC, self._on_trading)
        self.subscribe_topic(SENTIMENT_TOPIC, self._on_sentiment)
        self.subscribe_socket_state()
        for kind in self._bar_types:
            self._listen_to(kind)
        self._say(what="started", **self._facts)
        self._tell_found()
        self.clock.set_timer_ns("record", _LOOK_NS, None, None, self._on_look)

    def _listen_to(self, kind: BarType) -> None:
        self.subscribe_bars(kind)
        self.subscribe_topic(forecast_topic(str(kind.instrument_id)), self._on_forecast)
        if "-PERP." in str(kind.instrument_id):
            self.subscribe_funding_rates(kind.instrument_id)
            if self._settlements is not None:
                self._settlements.ask(str(kind.instrument_id))
        if self._keeps_quotes:
            self.subscribe_quotes(kind.instrument_id)
        if self._keeps_trades:
            self.subscribe_trades(kind.instrument_id)

    def follow(self, kind: BarType, instrument: Any) -> None:
        """One more instrument, while the node runs."""
        name = str(kind.instrument_id)
        if name not in self._ids:
            self._ids[name] = kind.instrument_id
            if self._market is not None:
                self._market.add(instrument)
            self._listen_to(kind)

    def on_stop(self) -> None:
        """The last line of a session that was not killed."""
        self._look_at_account()
        self._say(what="recorder_stopped")

    def _tell_found(self) -> None:
        """The orders and positions that the venue had before anyone began to listen."""
        found: tuple[tuple[str, list[Any]], ...] = (
            ("order", self.cache.orders()),
            ("position", self.cache.positions_open()),
        )
        for kind, things in found:
            for thing in things:
                detail = {"event": "found"} | _plain(thing)
                owner = str(thing.strategy_id).removesuffix("-001")
                if kind == "order":
                    detail["client_order_id"] = str(thing.client_order_id)
                self._put(thing.ts_last, owner, str(thing.instrument_id), kind, detail)

    # -- the market ----------------------------------------------------------------------------------------

    def on_bar(self, bar: Bar) -> None:
        """A bar as it came."""
        closed = closed_at(bar.ts_event, length_ns(bar.bar_type))
        self._learn(closed)
        if self._market is not None:
            self._market.put(bar)
        values = (bar.open, bar.high, bar.low, bar.close, bar.volume)
        detail: dict[str, Any] = dict(
            zip(("open", "high", "low", "close", "volume"), map(str, values), strict=True)
        )
        detail["closed"] = closed
        detail["received"] = bar.ts_init
        self._put(bar.ts_event, "market", str(bar.bar_type.instrument_id), "bar", detail)

    def on_quote(self, quote: QuoteTick) -> None:
        """A quote as it came."""
        if self._market is not None:
            self._market.put(quote)

    def on_trade(self, trade: TradeTick) -> None:
        """A trade as it came."""
        if self._market is not None:
            self._market.put(trade)

    def on_funding_rate(self, rate: FundingRateUpdate) -> None:
        """A rate or its time that changed: the venue says both every second.

        Once the next settlement is a later one, the one before can be asked for.
        """
        name, known = str(rate.instrument_id), (str(rate.rate), rate.next_funding_ns)
        before = self._funding.get(name)
        if before != known:
            due = None if before is None else before[1]
            if self._settlements is not None and due and due < (known[1] or 0):
                self._settlements.ask(name, due)
            self._funding[name] = known
            self._put(rate.ts_event, "market", name, "funding", {"rate": known[0], "next": known[1]})

    def on_socket_state(self, event: SocketStateChanged) -> None:
        """A connection has come or gone."""
        known, self._sockets[event.endpoint] = self._sockets.get(event.endpoint), event.state
        is_up = event.state == SocketState.CONNECTED
        what = "disconnected" if not is_up else "connected" if known is None else "reconnected"
        self._say(what=what, endpoint=event.endpoint)

    @guarded
    def _on_forecast(self, message: object) -> None:
        if isinstance(message, Forecast):
            detail = {"model": message.model, "probability": message.probability}
            self._put(message.ts_event, "forecaster", message.instrument, "forecast", detail)

    @guarded
    def _on_sentiment(self, message: object) -> None:
        if isinstance(message, Sentiment):
            self._learn(message.ts_event)

    def _learn(self, until: int) -> None:
        """Keep the index's values that count at a time: one was announced, or a bar meets them."""
        if self._market is None or self._index is None:
            return
        while self._learned < len(self._index):
            known_at, value, due = self._index.row(self._learned)
            if known_at > until:
                return
            self._market.learn(FEAR_GREED, known_at, value, due)
            self._learned += 1

    # -- decisions and orders ------------------------------------------------------------------------------

    @guarded
    def _on_audit(self, message: object) -> None:
        if not isinstance(message, AuditRecord):
            raise TypeError(f"the audit topic carries AuditRecord only, got {type(message).__name__}")
        detail = message.detail
        if message.kind in _QUOTED:
            self._quote_of(message.instrument)
        elif message.kind == "order":
            detail = self._all_of(detail)
        self._put(message.ts_event, message.component, message.instrument, message.kind, detail)

    def _all_of(self, detail: dict[str, Any]) -> dict[str, Any]:
        """A strategy's record of an order's event, with all that the engine knows of the event."""
        order: Any = self.cache.order(ClientOrderId(str(detail["client_order_id"])))
        event = None if order is None else order.last_event
        if event is None or type(event).__name__ != detail["event"]:
            return detail
        self._told[str(event.event_id)] = None
        while len(self._told) > _TOLD_IDS:
            del self._told[next(iter(self._told))]
        return detail | {key: value for key, value in _plain(event).items() if key not in detail}

    @guarded
    def _on_order(self, message: object) -> None:
        """Every event comes here after its own handler; what that has not written down is written now."""
        if not isinstance(message, OrderTold):
            raise TypeError(f"the order topic carries OrderTold only, got {type(message).__name__}")
        event = message.event
        if str(event.event_id) in self._told:
            return
        detail = {
            "event": type(event).__name__,
            "role": message.role,
            "client_order_id": str(event.client_order_id),
        }
        self._put(event.ts_event, message.strategy, str(event.instrument_id), "order", detail | _plain(event))

    @guarded
    def _on_trading(self, message: object) -> None:
        values = msgspec.to_builtins(message)
        name = {"EntrySubmitted": "entry_sent", "TradeClosed": "closed", "OrderRefused": "refused"}
        what = name.get(type(message).__name__, type(message).__name__)
        ts, strategy, instrument = values.pop("ts_event"), values.pop("strategy"), values.pop("instrument")
        self._put(ts, strategy, instrument, "trade", {"what": what} | values)

    def _quote_of(self, instrument: str) -> None:
        """The cached quote, if it has not been written down yet."""
        instrument_id = self._ids.get(instrument)
        if instrument_id is None:
            return
        quote: Any = self.cache.quote(instrument_id)
        if quote is None or self._quoted.get(instrument) == (quote.ts_init, quote.ts_event):
            return
        self._quoted[instrument] = (quote.ts_init, quote.ts_event)
        names = ("bid_price", "ask_price", "bid_size", "ask_size")
        detail: dict[str, Any] = {name: str(getattr(quote, name)) for name in names}
        detail["received"] = quote.ts_init
        mark: Any = self.cache.mark_price(instrument_id)
        if mark is not None:
            detail["mark"] = str(mark.value)
        self._put(quote.ts_event, "market", instrument, "quote", detail)

    # -- once a second -------------------------------------------------------------------------------------

    @guarded
    def _on_look(self, event: Any) -> None:
        del event
        self._look_at_account()
        self._look_at_settlements()
        self._look_at_writers()

    def _look_at_account(self) -> None:
        """The newest state of the account, when there is a new one."""
        venue = Venue(self._bar_types[0].instrument_id.venue.value)
        account: Any = self.cache.account_for_venue(venue)
        state = None if account is None else account.last_event
        if state is None or str(state.event_id) == self._account:
            return
        self._account = str(state.event_id)
        told = state.to_dict()
        detail = {key: told[key] for key in ("balances", "margins") if key in told}
        detail |= {"reported": state.is_reported, "events": account.event_count}
        self._put(state.ts_event, "account", "", "account", detail)

    def _look_at_settlements(self) -> None:
        if self._market is None or self._settlements is None:
            return
        for name, rates in self._settlements.take():
            self._market.settle(name, rates)
        while self._settlements.problems:
            self._market.problems.append(self._settlements.problems.popleft())

    def _look_at_writers(self) -> None:
        if (self._file.error is not None) != self._had_error:
            self._had_error = self._file.error is not None
            error = self._file.error
            alarm(self, "the audit stream is written again" if error is None else f"no audit stream: {error}")
        if self._file.drops > self._audit_drops:
            alarm(self, f"{self._file.drops - self._audit_drops} lines of the audit stream were lost")
            self._audit_drops = self._file.drops
        if self._market is None:
            return
        if self._market.drops > self._market_drops:
            alarm(self, f"{self._market.drops - self._market_drops} bars and quotes were not recorded")
            self._market_drops = self._market.drops
        while self._market.problems:
            alarm(self, self._market.problems.popleft())

    # -- lines ---------------------------------------------------------------------------------------------

    def _say(self, **detail: Any) -> None:
        """On the topic: others count it."""
        record = AuditRecord(
            ts_event=self.clock.timestamp_ns(),
            component="recorder",
            instrument="",
            kind="node",
            detail=detail,
        )
        self.publish_message(AUDIT_TOPIC, record)

    def _put(self, ts_event: int, component: str, instrument: str, kind: str, detail: dict[str, Any]) -> None:
        self._file.put(
            {"ts": ts_event, "component": component, "instrument": instrument, "kind": kind, "detail": detail}
        )


def _plain(event: Any) -> dict[str, Any]:
    """What an order's event says, without what every line has and what it leaves empty."""
    return {
        key: value for key, value in event.to_dict().items() if value is not None and key not in _LEFT_OUT
    }
