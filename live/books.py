"""What a node believes it has: money, positions, open orders; to be compared with the venue's own books."""

from collections.abc import Mapping
from typing import Any

from nautilus_trader.model import Venue

from strategies.results import Result

__all__ = ["books_of"]

_VENUE = Venue("BINANCE")


def books_of(cache: Any, results: Mapping[str, Result], amounts: Mapping[str, float]) -> dict[str, Any]:
    """The engine's books as plain values; `amounts` are held by the venue where the engine is wrong.

    `balance` is what the account holds by asset, without unrealised profit, as the venue last told it.
    By instrument: `positions` (signed), `commissions` and `realized` of all positions of this process, and
    `orders` (client order ids) that are not closed. Decimals are strings. `results` are those of newest
    positions, by instrument, that the engine does not know: it had to guess at fills.
    """
    account = cache.account_for_venue(_VENUE)
    totals = {} if account is None else account.balances_total()
    positions: dict[str, str] = {}
    commissions: dict[str, list[str]] = {}
    realized: dict[str, list[str]] = {}
    for position in cache.positions():
        name = str(position.instrument_id)
        if position.is_open:
            positions[name] = f"{'-' if position.is_short else ''}{position.quantity}"
        commissions.setdefault(name, []).extend(str(money) for money in position.commissions())
        if position.realized_pnl is not None:
            realized.setdefault(name, []).append(str(position.realized_pnl))
        if name in results and position.is_closed:
            money, code = results[name], position.quote_currency
            commissions[name], realized[name] = [f"{money.fee:.8f} {code}"], [f"{money.pnl:.8f} {code}"]
    positions |= {name: repr(amount) for name, amount in amounts.items()}
    orders: dict[str, list[str]] = {}
    for order in (*cache.orders_open(), *cache.orders_inflight()):
        name = str(order.instrument_id)
        orders.setdefault(name, []).append(str(order.client_order_id))
    return {
        "balance": {str(asset): str(money).split()[0] for asset, money in totals.items()},
        "positions": {name: amount for name, amount in positions.items() if float(amount)},
        "commissions": commissions,
        "realized": realized,
        "orders": {name: sorted(set(ids)) for name, ids in orders.items()},
    }
