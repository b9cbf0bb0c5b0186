"""A futures account as the venue knows it, as JSON values: what a client's books must agree with."""

from collections.abc import Iterable
from typing import Any

from live.rehearsal.exchange import orders_and_fills
from live.rehearsal.futures.venue import Venue
from live.rehearsal.record import FundingRecord
from live.rehearsal.store import encode, texts_of

__all__ = ["futures_ledger"]


def futures_ledger(venue: Venue, account: str, fundings: Iterable[FundingRecord]) -> dict[str, Any]:
    """Assets, income and its totals, positions, orders, fills and settled fundings; decimals as strings."""
    return orders_and_fills(venue, account) | {
        "assets": [encode(asset) for asset in venue.account_view(account).assets],
        "income_totals": texts_of(venue.income_totals(account)),
        "positions": [encode(p) for p in venue.positions(account) if p.amount],
        "open_algo_orders": [encode(o) for o in venue.open_algo_orders(account)],
        "algo_orders": [encode(o) for o in venue.all_algo_orders(account)],
        "income": [encode(income) for income in venue.income(account)],
        "fundings": [f._asdict() | {"rate": str(f.rate), "mark": str(f.mark)} for f in fundings],
    }
