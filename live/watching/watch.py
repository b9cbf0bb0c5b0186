"""The watchdog of USD-M futures: is every position covered, does the node live, and what is done.

- unprotected, and `protect`: a stop at the configured distance. While the node may live it is a reduce-only
  one of what is not covered, for the venue takes one closing stop only, and that one is the node's; once the
  node is silent it is a closing one. Refused `stop_tries` times: the position is closed at the market, for
  it can be neither held nor protected.
- the node's heartbeat is older than `flatten_after_secs`: orders in the book are cancelled, positions closed
  at the market, then the stops that are left are cancelled.
- a stop of the watchdog's steps back when another one covers the position, or when that is gone.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from live.venue.answers import AlgoOrder, ExchangeInfo, SymbolRules
from live.venue.client import VenueClient
from live.venue.errors import VenueRequestError
from live.venue.stop_cover import Cover, cover_of, stop_price
from live.watching.looking import OWN_PREFIX, Looker

__all__ = ["Watchdog"]

_RULES_SECS = 3_600.0


class Watchdog(Looker[VenueClient, Cover]):
    """Looks at one account's positions."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._rules: ExchangeInfo | None = None
        self._rules_at = 0.0
        self._own: set[str] | None = None  # symbols with a stop of ours; None: not asked yet

    def _see(self, now: float, *, dead: bool) -> Sequence[Cover]:
        positions = self.client.positions()
        held = {position.symbol for position in positions}
        if self._own is None:
            orders = self.client.open_algo_orders()
            self._own = {o.symbol for o in orders if o.client_algo_id.startswith(OWN_PREFIX)}
        asked = held | self._own | (self.settings.symbols if dead else frozenset())
        waiting = {symbol: self.client.open_algo_orders(symbol) for symbol in sorted(asked)}
        self._seen_venue = now
        self._load_rules(now)
        covers = [cover_of(position, waiting[position.symbol]) for position in positions]
        self._remember(now, covers)
        self._step_back(covers, waiting, dead=dead)
        return covers

    def _place_stop(self, cover: Cover, *, closes: bool) -> None:
        position = cover.position
        if self._own is not None:
            self._own.add(position.symbol)
        rules = self._rules_of(position.symbol)
        price = stop_price(position, self.settings.stop_distance_pct, rules.tick)
        symbol, side, lacking = position.symbol, position.exit_side, abs(position.amount) - cover.covered
        if not closes and lacking <= rules.market_max_quantity:
            self.client.place_reduce_stop(
                symbol, side, lacking, price, self._name(), position_side=position.side
            )
            return
        self._clear_way(cover)
        self.client.place_close_stop(symbol, side, price, self._name(), position_side=position.side)

    def _clear_way(self, cover: Cover) -> None:
        """The venue takes one closing stop only: one that protects nothing has to go."""
        for order, _ in cover.useless:
            if order.close_position and order.side == cover.position.exit_side:
                self.client.cancel_algo(order.symbol, order.algo_id)

    def _sell_out(self, cover: Cover) -> None:
        position, rules = cover.position, self._rules_of(cover.symbol)
        quantity = min(abs(position.amount), rules.market_max_quantity)
        quantity = quantity // rules.market_step * rules.market_step
        self.client.reduce_at_market(
            position.symbol, position.exit_side, quantity, self._name(), position_side=position.side
        )

    def _clear_book(self, now: float, symbol: str) -> None:
        try:
            left = self.client.open_orders(symbol)
        except VenueRequestError:
            return  # the next look asks again
        if left and self._may_act(now):
            self._do("orders in the book cancelled", symbol, None, lambda: self.client.cancel_all(symbol))

    def _step_back(
        self, covers: Sequence[Cover], waiting: dict[str, tuple[AlgoOrder, ...]], *, dead: bool
    ) -> None:
        """Cancel what is not needed: own stops beside others or without a position, all of a dead node's."""
        by_symbol = {cover.symbol: cover for cover in covers}
        own_left: set[str] = set()
        for symbol, orders in waiting.items():
            cover = by_symbol.get(symbol)
            for order in orders:
                own = order.client_algo_id.startswith(OWN_PREFIX)
                if not self._is_left_over(order, cover, own=own, dead=dead):
                    own_left |= {symbol} if own else set()
                elif self._may_act(self._clock()):
                    self._do("left-over stop cancelled", symbol, None, self._canceller(order))
        self._own = own_left

    def _is_left_over(self, order: AlgoOrder, cover: Cover | None, *, own: bool, dead: bool) -> bool:
        if cover is None:
            return own or (dead and order.symbol in self.settings.symbols)
        others = [o for o in cover.stops if not o.client_algo_id.startswith(OWN_PREFIX)]
        return own and cover_of(cover.position, others).is_whole

    def _canceller(self, order: AlgoOrder) -> Callable[[], None]:
        return lambda: self.client.cancel_algo(order.symbol, order.algo_id)

    def _load_rules(self, now: float) -> None:
        """Have ticks and steps at hand before they are needed; old ones do where new ones cannot be had."""
        if not self.settings.acts or (self._rules is not None and now - self._rules_at < _RULES_SECS):
            return
        self._rules_at = now
        with suppress(VenueRequestError):
            self._rules = self.client.exchange_info()

    def _rules_of(self, symbol: str) -> SymbolRules:
        if self._rules is None:
            self._rules = self.client.exchange_info()
        rules = self._rules.symbols.get(symbol)
        if rules is None:
            raise VenueRequestError("exchangeInfo", f"has no rules for {symbol}", code=-1121, http_status=400)
        return rules
