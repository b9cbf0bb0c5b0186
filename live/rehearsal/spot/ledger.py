"""A spot account as the venue knows it, as JSON values: what a client's books must agree with."""

from typing import Any

from live.rehearsal.exchange import orders_and_fills
from live.rehearsal.spot.venue import SpotVenue
from live.rehearsal.store import encode, texts_of

__all__ = ["spot_ledger"]


def spot_ledger(venue: SpotVenue, account: str) -> dict[str, Any]:
    """Balances, the ones at the start, orders and order lists, fills and ledger; decimals as strings."""
    return orders_and_fills(venue, account) | {
        "assets": [
            {"asset": each.asset, "free": str(each.free), "locked": str(each.locked)}
            for each in venue.balances(account)
        ],
        "starting": texts_of(venue.starting(account)),
        "open_order_lists": [encode(pair) for pair in venue.order_lists(account, only_open=True)],
        "order_lists": [encode(pair) for pair in venue.order_lists(account)],
        "ledger": [encode(entry) for entry in venue.ledger(account)],
    }
