"""What trades on futures have come to at the venue: fills, forced orders, what the insurance fund has booked.

A liquidation costs more than its fills say: the venue takes a fee for clearing it, or the fund makes a wallet
good that has gone below zero. Both are only in the account's income.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from decimal import Decimal

import msgspec

from catalog.instruments import symbol_of
from live.venue.answers import Clearance, Fill
from live.venue.client import VenueClient
from strategies.forced import LIQUIDATED, forced_kind
from strategies.results import Cleared, Statement, VenueFill

__all__ = ["clearing_rates", "statement", "statements"]

_MS_NS = 1_000_000
_SECOND_NS = 1_000_000_000
_ZERO = Decimal(0)


class _Symbol(msgspec.Struct, rename="camel"):
    symbol: str
    liquidation_fee: Decimal = _ZERO


class _ExchangeInfo(msgspec.Struct):
    symbols: list[_Symbol] = []


def clearing_rates(exchange_info: bytes) -> dict[str, Decimal]:
    """By symbol, the share of the notional that clearing a liquidated position costs at most.

    >>> clearing_rates(b'{"symbols": [{"symbol": "BTCUSDT", "liquidationFee": "0.012500"}]}')
    {'BTCUSDT': Decimal('0.012500')}
    """
    told = msgspec.json.decode(exchange_info, type=_ExchangeInfo).symbols
    return {each.symbol: each.liquidation_fee for each in told}


def statements(
    client: VenueClient, pool: Executor, taker: Decimal, rates: Mapping[str, Decimal]
) -> Callable[[str, int, int], Future[Statement]]:
    """Asks in `pool`, by instrument, for what came after a fill or since a time (see `statement`)."""

    def fetch(name: str, after: int, since_ns: int) -> Future[Statement]:
        return pool.submit(statement, client, symbol_of(name), taker, rates, after, since_ns)

    return fetch


def statement(
    client: VenueClient,
    symbol: str,
    taker: Decimal,
    rates: Mapping[str, Decimal],
    after: int,
    since_ns: int,
) -> Statement:
    """A symbol's fills after a number, or since a time (ns UTC) where the number is -1, with what they cost.

    `taker` is the rate that stands for a fee paid in another currency, `rates` are those of clearing.
    """
    fills = client.fills(symbol, after, since_ns)
    if not fills:
        return Statement(())
    forced = {order.order_id: forced_kind(order.client_order_id) for order in client.forced_orders(symbol)}
    told = [_told(fill, forced.get(fill.order_id, ""), symbol, taker, rates) for fill in fills]
    liquidated = [fill for fill in told if fill.forced == LIQUIDATED]
    if not liquidated:
        return Statement(told)
    return Statement(told, _cleared(client, symbol, min(fill.ts for fill in liquidated)))


def _told(fill: Fill, forced: str, symbol: str, taker: Decimal, rates: Mapping[str, Decimal]) -> VenueFill:
    worth = fill.price * fill.quantity
    is_quote = symbol.endswith(fill.commission_asset)
    return VenueFill(
        number=fill.id,
        signed=fill.signed,
        pnl=fill.realized_pnl,
        fee=fill.commission if is_quote else worth * taker,
        ts=fill.time * _MS_NS,
        order=fill.order_id,
        forced=forced,
        clearing=worth * rates.get(symbol, _ZERO) if forced == LIQUIDATED else _ZERO,
    )


def _cleared(client: VenueClient, symbol: str, since_ns: int) -> Sequence[Cleared]:
    """What the fund has booked since the first liquidation.

    A booking on no symbol is the account's: it is this symbol's where no other one was liquidated since.
    """
    since_ns -= since_ns % _SECOND_NS  # it books in whole seconds
    booked = [row for row in client.clearances(since_ns) if symbol.endswith(row.asset)]
    shared = any(not row.symbol for row in booked) and _others_liquidated(client, symbol, since_ns)
    return [Cleared(row.income, row.time * _MS_NS) for row in booked if _concerns(row, symbol, shared)]


def _concerns(row: Clearance, symbol: str, shared: bool) -> bool:
    if row.symbol:
        return row.symbol == symbol
    return not shared or row.income < 0  # of two that may count, the worse


def _others_liquidated(client: VenueClient, symbol: str, since_ns: int) -> bool:
    return any(
        order.symbol != symbol
        and order.update_time * _MS_NS >= since_ns
        and forced_kind(order.client_order_id) == LIQUIDATED
        for order in client.forced_orders()
    )
