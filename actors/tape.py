"""The tape on the bus: hears an instrument's quotes and trades, says at each bar's close what they show."""

from nautilus_trader.common import DataActor, DataActorConfig
from nautilus_trader.model import ActorId, AggressorSide, Bar, BarType, QuoteTick, TradeTick

from actors.faults import fail_loud
from actors.messages import Observation, observation_topic
from models.tape import TapeState

__all__ = ["Tape"]


@fail_loud
class Tape(DataActor):
    """Publishes one `Observation` with `models.tape.TAPE_FEATURES` at the close of each bar."""

    def __new__(cls, name: str, **_: object) -> "Tape":
        """The engine takes a component's identity when the object is made."""
        return super().__new__(cls, DataActorConfig(actor_id=ActorId(name)))  # type: ignore[call-arg]

    def __init__(self, name: str, *, bar_type: BarType, price_precision: int, size_precision: int) -> None:
        super().__init__(DataActorConfig(actor_id=ActorId(name)))
        self.component_name = name
        self.failure: BaseException | None = None
        self._bar_type = bar_type
        self._instrument = str(bar_type.instrument_id)
        self._topic = observation_topic(self._instrument)
        self._price_units = 10.0**price_precision
        self._size_units = 10.0**size_precision
        self._state = TapeState()

    def on_start(self) -> None:
        """Follow quotes, trades and bars."""
        self.subscribe_quotes(self._bar_type.instrument_id)
        self.subscribe_trades(self._bar_type.instrument_id)
        self.subscribe_bars(self._bar_type)

    def on_quote(self, quote: QuoteTick) -> None:
        """Take a quote."""
        price, size = self._price_units, self._size_units
        # as_double() is one ulp off for a quarter of all prices; the same rounding as offline mends it
        self._state.quote(
            quote.ts_event,
            quote.ts_init,
            round(quote.bid_price.as_double() * price) / price,
            round(quote.ask_price.as_double() * price) / price,
            round(quote.bid_size.as_double() * size) / size,
            round(quote.ask_size.as_double() * size) / size,
        )

    def on_trade(self, trade: TradeTick) -> None:
        """Take a trade; one whose taker is not told counts for neither side."""
        side = _SIDES.get(trade.aggressor_side)
        if side is not None:
            units = self._size_units
            size = round(trade.size.as_double() * units) / units
            self._state.trade(trade.ts_event, trade.ts_init, size, side)

    def on_bar(self, bar: Bar) -> None:
        """Publish what the tape shows at this close."""
        features = self._state.features(bar.ts_event)
        self.publish_message(
            self._topic,
            Observation(instrument=self._instrument, ts_event=bar.ts_event, features=features),
        )


_SIDES = {AggressorSide.BUY: 1, AggressorSide.SELL: -1}
