"""A strategy's whole ticks and lots, and the prices and quantities that its venue takes for them."""

import math
from typing import Any

from nautilus_trader.model import Price, Quantity
from nautilus_trader.trading import Strategy

from configs.errors import RunFailedError
from strategies.setup import StrategySetup
from strategies.trade import to_ticks

__all__ = ["VenueGrid"]

_DUST = 1e-9


class VenueGrid:
    """Plans count in the tick and step that a run was made for; live the venue may change them meanwhile."""

    def __init__(self, strategy: Strategy, setup: StrategySetup) -> None:
        self._strategy = strategy
        self._setup = setup
        self._instrument = setup.instrument
        self._id = setup.instrument.id
        self._digits = setup.instrument.price_precision
        self._size_digits = setup.instrument.size_precision
        self._step_size = setup.rules.step_size
        self._units = 10.0**setup.instrument.price_precision
        self._ticks_per_unit = setup.ticks_per_unit
        self._grid: tuple[float, float] | None = None

    def lots(self, quantity: Any) -> int:
        """A quantity in whole lots, free of binary dust."""
        return round(float(quantity) / self._step_size)

    def size(self, lots: int) -> float:
        """Lots in base units."""
        return round(lots * self._step_size, self._size_digits)

    def quantity(self, lots: int) -> Quantity:
        """Lots as the engine's quantity."""
        size = self.size(lots)
        if self._grid is not None:
            step, holds_coins = self._grid[1], self._setup.holds_coins
            steps = math.floor(size / step + 1e-9) if holds_coins else math.ceil(size / step - 1e-9)
            size = max(1, steps) * step
        made: Quantity = self._instrument.make_qty(size)
        return made

    def at_once(self, lots: int) -> int:
        """As many of them as one order at the market may have; the rest has to wait for the next."""
        most = self._setup.rules.max_quantity / self._step_size
        return lots if lots <= most else max(1, math.floor(most + 1e-9))

    def nearer_stop(self, side: int, ticks: int, other: int) -> int:
        """The nearer of two levels of a stop for a position of `side`; `ticks` if `other` is passed."""
        mark: Any = self._strategy.cache.mark_price(self._id)
        is_ahead = mark is not None and side * (mark.value.as_double() - self.price(other)) > 0.0
        return side * max(side * ticks, side * other) if is_ahead else ticks

    def price(self, ticks: int) -> float:
        """A level as a price, rounded as the instrument's prices are."""
        return self.rounded(ticks * self._setup.rules.tick_size)

    def rounded(self, price: float) -> float:
        """A price as the instrument's prices are: the engine's floats are an ulp off for a quarter of all."""
        return round(price * self._units) / self._units

    def _level(self, ticks: int) -> Price:
        return Price(self.price(self.on_grid(ticks)), self._digits)

    # -- live ----------------------------------------------------------------------------------------------

    def renew_rules(self) -> bool:
        """Take the instrument as the venue has it now; False when its tick or step has changed.

        From then on levels are rounded to the new tick and sizes up to the new step: what is still sent
        closes, and a reduce-only order closes no more than is held. Of coins no more can be sold than there
        are: down. RunFailedError for one that the venue does not have.
        """
        found: Any = self._strategy.cache.instrument(self._id)
        if found is None:
            raise RunFailedError(f"{self._id}: the venue has no such instrument")
        rules = self._setup.rules
        tick, step = found.price_increment.as_double(), found.size_increment.as_double()
        self._instrument, self._digits = found, found.price_precision
        if tick == rules.tick_size and step == rules.step_size:
            self._grid = None
            return True
        self._grid = (tick, step)
        return False

    def is_crumb(self, amount: float) -> bool:
        """Whether that is less than the venue's step: left of a finer one, and nothing that was planned."""
        return 0.0 < abs(amount) < float(self._instrument.size_increment) * (1.0 - 1e-9)

    def is_rounded(self, amount: float, lots: int) -> bool:
        """Whether the engine's `lots` are that amount in whole steps, of which it is no number."""
        off = abs(amount - self.size(lots))
        step = max(float(self._instrument.size_increment), self._step_size)
        return _DUST < off < step * (1.0 - 1e-9)

    @property
    def least_lots(self) -> int:
        """The smallest order that the venue takes at the market."""
        least = self._instrument.min_quantity
        step = float(self._instrument.size_increment)
        return math.ceil(max(step, 0.0 if least is None else float(least)) / self._step_size - 1e-9)

    @property
    def has_new_grid(self) -> bool:
        """Whether the venue's tick or step is no longer that of the plans."""
        return self._grid is not None

    def on_grid(self, ticks: int) -> int:
        """The level, in the plans' ticks, at which the venue takes an order."""
        if self._grid is None:
            return ticks
        tick = max(self._grid[0], self._setup.rules.tick_size)
        return to_ticks(round(self.price(ticks) / tick) * tick, self._ticks_per_unit)
