"""The methods of the futures WebSocket API: the REST handlers under other names.

Source: Binance's WebSocket API methods for USD-M futures.
"""

from live.rehearsal.errors import refuse
from live.rehearsal.futures import rest_account, rest_market, rest_orders
from live.rehearsal.futures.desk import FuturesDesk
from live.rehearsal.futures.wire_orders import algo_ack
from live.rehearsal.serving.desk import Endpoint, Json, Security
from live.rehearsal.serving.market_data import by_symbol, ping, server_time
from live.rehearsal.serving.wire import Params

__all__ = ["METHODS"]


def _cancel_algo(desk: FuturesDesk, account: str, params: Params) -> Json:
    """algoOrder.cancel answers with the whole order, unlike its REST sibling."""
    number, client_id = params.integer("algoId"), params.text("clientAlgoId")
    if number is None and client_id is None:
        raise refuse(-1102, "algoid")
    params.finish()
    order = desk.venue.cancel_algo(account, number, client_id)
    return algo_ack(order, desk.spec(order.symbol))


_OPEN, _KEY, _READ, _TRADE = Security.NONE, Security.KEY, Security.READ, Security.TRADE
METHODS: dict[str, Endpoint] = {
    endpoint.path: endpoint
    for endpoint in (
        Endpoint("WS", "ping", _OPEN, ping),
        Endpoint("WS", "time", _OPEN, server_time),
        Endpoint("WS", "depth", _OPEN, rest_market.depth, rest_market.depth_weight),
        Endpoint("WS", "ticker.price", _OPEN, rest_market.price_tickers, by_symbol(2, 5)),
        Endpoint("WS", "ticker.book", _OPEN, rest_market.book_tickers, by_symbol(2, 5)),
        Endpoint("WS", "order.place", _TRADE, rest_orders.place_order, 0, 1),
        Endpoint("WS", "order.modify", _TRADE, rest_orders.modify_order, 1, 1),
        Endpoint("WS", "order.cancel", _TRADE, rest_orders.cancel_order),
        Endpoint("WS", "order.status", _READ, rest_orders.query_order),
        Endpoint("WS", "algoOrder.place", _TRADE, rest_orders.place_algo, 0, 1),
        Endpoint("WS", "algoOrder.cancel", _TRADE, _cancel_algo),
        Endpoint("WS", "account.balance", _READ, rest_account.balances, 5),
        Endpoint("WS", "v2/account.balance", _READ, rest_account.balances, 5),
        Endpoint("WS", "account.status", _READ, rest_account.account_status, 5),
        Endpoint("WS", "v2/account.status", _READ, rest_account.account_status_v3, 5),
        Endpoint("WS", "account.position", _READ, rest_account.positions, 5),
        Endpoint("WS", "v2/account.position", _READ, rest_account.positions_v3, 5),
        Endpoint("WS", "userDataStream.start", _KEY, rest_account.new_listen_key, 5),
        Endpoint("WS", "userDataStream.ping", _KEY, rest_account.renew_listen_key),
        Endpoint("WS", "userDataStream.stop", _KEY, rest_account.close_listen_key),
    )
}
