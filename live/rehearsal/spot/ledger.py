"""A spot account as the venue knows it, as JSON values: what a client's books must agree with."""

from typing import Any

from live.rehearsal.spot.venue import SpotVenue
from live.rehearsal.store import encode

__all__ = ["spot_ledger"]


def spot_ledger(venue: SpotVenue, account: str) -> dict[str, Any]:
    """Balances, the ones at the start, orders and order lists, fills and ledger; decimals as strings."""
    return {
        "assets": [
            {"asset": each.asset, "free": str(each.free), "locked": str(each.locked)}
            for each in venue.balances(account)
        ],
        "starting": {asset: str(amount) for asset, amount in venue.starting(account).items()},
        "open_orders": [encode(order) for order in venue.open_orders(account)],
        "open_order_lists": [encode(pair) for pair in venue.order_lists(account, only_open=True)],
        "orders": [encode(order) for symbol in venue.specs for order in venue.all_orders(account, symbol)],
        "order_lists": [encode(pair) for pair in venue.order_lists(account)],
        "fills": [encode(trade) for trade in venue.user_trades(account)],
        "ledger": [encode(entry) for entry in venue.ledger(account)],
    }
