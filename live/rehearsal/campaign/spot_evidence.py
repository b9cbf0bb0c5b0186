"""What a spot venue shows of itself, in the shapes that the invariants read.

A position is what could be sold: whole lots of the coins, free and locked, and zero when they are worth less
than the venue takes. What remains of a trade then is dust, which stays in the account.
"""

from collections.abc import Mapping
from decimal import ROUND_FLOOR, Decimal
from typing import Any

from live.rehearsal.campaign.evidence import Moment
from live.rehearsal.campaign.steps import own_id
from live.rehearsal.campaign.timeline import least_worth
from live.rehearsal.session import Session
from live.rehearsal.specs import SymbolSpec
from live.rehearsal.spot.orders import SpotOrder

__all__ = ["sellable", "spot_ledger_of", "spot_moment"]

ZERO = Decimal(0)
_PERPETUAL_ONLY = {"close_position": False, "algo_id": 0, "forced": False}


def spot_moment(session: Session, spec: SymbolSpec, account: str, wall_ns: int, what: str) -> Moment:
    """A symbol as the venue has it now, by the rules that it had at the start."""
    venue, symbol = session.spot, spec.symbol
    total = sum((b.total for b in venue.balances(account) if b.asset == spec.base), ZERO)
    orders = venue.open_orders(account, symbol)
    mark = venue.market(symbol).mark or ZERO
    position = sellable(total, mark, spec)
    return Moment(
        wall_ns=wall_ns,
        market_ms=session.market_ms,
        what=what,
        symbol=symbol,
        position=position,
        entry_orders_open=sum(order.side == "BUY" for order in orders),
        stop_covers=sum((o.remaining for o in orders if _is_stop(o)), ZERO) >= position,
        orders_open=len(orders),
        mark=mark,
        entry_price=ZERO,
    )


def sellable(total: Decimal, price: Decimal, spec: SymbolSpec) -> Decimal:
    """The whole lots of some coins, zero when they are dust at a price.

    At a price of zero, before there is a market, nothing is dust.
    """
    whole = (total / spec.step).to_integral_value(rounding=ROUND_FLOOR) * spec.step
    is_dust = whole < spec.min_quantity or (price and whole * price <= least_worth(spec))
    return ZERO if is_dust else whole


def _is_stop(order: SpotOrder) -> bool:
    return order.side == "SELL" and order.type == "STOP_LOSS"


def spot_ledger_of(ledger: Mapping[str, Any], specs: Mapping[str, SymbolSpec]) -> dict[str, Any]:
    """The venue's spot ledger with what perpetuals have and spot has not, so that one reading fits both.

    Sales close; client order ids are as the node gave them; `income` are the entries in the quote currency;
    a fill's `coins_paid` is its commission where that was taken from the coins bought.
    """
    bases = {symbol: spec.base for symbol, spec in specs.items()}
    quotes = {spec.quote for spec in specs.values()}
    return {
        **ledger,
        "positions": [],
        "algo_orders": [],
        "open_algo_orders": [],
        "orders": [
            row
            | _PERPETUAL_ONLY
            | {"client_order_id": own_id(row["client_order_id"]), "reduce_only": row["side"] == "SELL"}
            for row in ledger["orders"]
        ],
        "fills": [
            row
            | {
                "position_side": "BOTH",
                "realized": "0",
                "coins_paid": row["commission"] if row["asset"] == bases[row["symbol"]] else "0",
            }
            for row in ledger["fills"]
        ],
        "income": [row | {"tran_id": row["entry_id"]} for row in ledger["ledger"] if row["asset"] in quotes],
    }
