"""What the futures handlers share."""

from live.rehearsal.errors import refuse
from live.rehearsal.futures.orders import Order
from live.rehearsal.futures.venue import Venue
from live.rehearsal.serving.desk import Desk
from live.rehearsal.serving.wire import Params

__all__ = ["FuturesDesk", "find_order"]

FuturesDesk = Desk[Venue]


def find_order(desk: FuturesDesk, account: str, params: Params) -> Order:
    """The order asked for by `orderId` or `origClientOrderId`; -1102 without either, -2013 when unknown."""
    spec = desk.asked_spec(params)
    number, client_id = params.integer("orderId"), params.text("origClientOrderId")
    if number is None and client_id is None:
        raise refuse(-1102, "orderid")
    return desk.venue.order(account, spec.symbol, number, client_id)
