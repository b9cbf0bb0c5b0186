"""Whether coins are covered by sell stops that wait at a spot venue. Pure: the venue says, this judges.

What is on offer is locked, and nothing is reduce-only: so it counts whose coins an order sells. Orders of the
node and of the watchdog sell the node's. A stop of anybody else counts for what it offers beyond the coins
that are not the node's.
"""

from collections.abc import Iterable
from decimal import ROUND_FLOOR, Decimal
from typing import NamedTuple

from live.venue.spot_client import Order, SpotRules

__all__ = ["CoinCover", "Held", "coin_cover"]

_STOPS = ("STOP_LOSS", "STOP_LOSS_LIMIT")
_NOTHING = Decimal(0)


class Held(NamedTuple):
    """The node's coins; `others` are those in the account that are not, `free` what no order offers."""

    amount: Decimal
    cost_price: Decimal
    others: Decimal
    free: Decimal


class CoinCover(NamedTuple):
    """The node's coins of one symbol in whole steps, and what protects them.

    `orders` are the open ones of the node and the watchdog. `useless` are sell orders of theirs that protect
    nothing, each with the reason. `least` is what the venue takes in an order.
    """

    symbol: str
    amount: Decimal
    cost_price: Decimal
    price: Decimal
    free: Decimal
    least: Decimal
    covered: Decimal
    orders: tuple[Order, ...]
    useless: tuple[tuple[Order, str], ...] = ()

    @property
    def key(self) -> tuple[str, str, bool]:
        """Which coins these are."""
        return self.symbol, self.side, True

    @property
    def side(self) -> str:
        """Coins are held, never owed."""
        return "LONG"

    @property
    def name(self) -> str:
        """How a person tells them from others."""
        return self.symbol

    @property
    def is_whole(self) -> bool:
        """Whether all but what the venue takes in no order has a stop."""
        return self.amount - self.covered < self.least

    @property
    def text(self) -> str:
        """The coins and their cover in words."""
        size = f"{self.amount:f} held, bought at {self.cost_price:f}"
        if self.is_whole:
            return f"{size}, covered"
        lacking = "no stop" if not self.covered else f"a stop for {self.covered:f} only"
        why = "".join(f"; order {order.client_order_id} {reason}" for order, reason in self.useless)
        return f"{size}, {lacking}{why}"


def coin_cover(held: Held, rules: SpotRules, price: Decimal, orders: Iterable[Order]) -> CoinCover | None:
    """What of the node's coins the open orders protect at a price; None for dust."""
    amount = (held.amount / rules.step).to_integral_value(ROUND_FLOOR) * rules.step
    least = rules.least(price)
    if amount < least:
        return None
    ours, useless, own, strange = [], [], _NOTHING, _NOTHING
    for order in orders:
        mine, reason = order.is_ours, _why_not(order)
        if mine:
            ours.append(order)
        if order.side != "SELL":
            continue
        if reason is None:
            own += order.left if mine else _NOTHING
            strange += _NOTHING if mine else order.left
        elif mine:
            useless.append((order, reason))
    covered = min(amount, own + max(_NOTHING, strange - held.others))
    return CoinCover(
        symbol=rules.symbol,
        amount=amount,
        cost_price=held.cost_price,
        price=price,
        free=held.free,
        least=least,
        covered=covered,
        orders=tuple(ours),
        useless=tuple(useless),
    )


def _why_not(order: Order) -> str | None:
    """Why a sell order protects nothing; None when it does."""
    if order.type not in _STOPS:
        return "is no stop"
    if order.type == "STOP_LOSS_LIMIT" and order.is_working:
        return "has triggered, and waits as a limit order that the market has passed"
    return None
