"""Binance's own modular Python client trades spot on the rehearsal venue with only its base URLs changed."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from binance_common.configuration import (
    ConfigurationRestAPI,
    ConfigurationWebSocketAPI,
    ConfigurationWebSocketStreams,
)
from binance_common.errors import BadRequestError
from binance_sdk_spot.spot import Spot

from live.rehearsal.serving.server import ServerThread
from tests.rehearsal_server import ED_KEY, HMAC_KEY, SECRET, D, ed25519_pair, kline
from tests.spot_server import quote, spot_running, trade

pytestmark = [
    pytest.mark.slow,  # sockets against the clock
    # The client hands aiohttp a timeout in a form that is going out of use.
    pytest.mark.filterwarnings("ignore:parameter 'timeout' of type:DeprecationWarning"),
]

WAIT_SECS = 10.0


@pytest.fixture
def thread() -> Iterator[ServerThread]:
    with spot_running() as server:
        yield server


@pytest.fixture
def client(thread: ServerThread) -> Spot:
    server = thread.server
    private = ed25519_pair()[0]
    base = server.ws_url.removesuffix("/ws")
    return Spot(
        config_rest_api=ConfigurationRestAPI(
            api_key=HMAC_KEY, api_secret=SECRET, base_path=server.http_url, retries=0
        ),
        config_ws_api=ConfigurationWebSocketAPI(
            api_key=ED_KEY, private_key=private, stream_url=server.ws_api_url
        ),
        config_ws_streams=ConfigurationWebSocketStreams(stream_url=base),
    )


def test_the_market_over_rest(thread: ServerThread, client: Spot) -> None:
    thread.feed([kline(0), trade("50100", "3", at=10)])
    rest = client.rest_api
    info = rest.exchange_info(symbol="BTCUSDT").data()
    assert info.symbols is not None
    assert [(s.symbol, s.oco_allowed) for s in info.symbols] == [("BTCUSDT", True)]
    book = rest.depth(symbol="BTCUSDT", limit=5).data()
    assert (book.bids, book.asks) == (
        [["50000.00000000", "5.00000000"]],
        [["50000.01000000", "5.00000000"]],
    )
    # The trades are years old by the server's clock: the last price stands in.
    assert rest.avg_price(symbol="BTCUSDT").data().price == "50100.00000000"
    rows = rest.klines(symbol="BTCUSDT", interval="1m").data()
    assert rows is not None


def test_a_trade_with_an_order_list_over_rest(thread: ServerThread, client: Spot) -> None:
    rest = client.rest_api
    bought = rest.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity=0.01).data()
    assert (bought.status, bought.executed_qty) == ("FILLED", "0.01000000")
    assert bought.fills is not None
    assert [(f.price, f.commission, f.commission_asset) for f in bought.fills] == [
        ("50000.01000000", "0.00001000", "BTC")
    ]
    pair = rest.order_list_oco(
        symbol="BTCUSDT",
        side="SELL",
        quantity=0.00999,
        above_type="LIMIT_MAKER",
        above_price=51000,
        below_type="STOP_LOSS",
        below_stop_price=49000,
    ).data()
    assert pair.list_order_status == "EXECUTING"
    held = {b.asset: (b.free, b.locked) for b in rest.get_account().data().balances or []}
    assert held["BTC"] == ("0.00000000", "0.00999000")
    thread.feed([quote("51000.00", "51000.01", at=20)])
    done = rest.get_order_list(order_list_id=pair.order_list_id).data()
    assert done.list_order_status == "ALL_DONE"
    fills = rest.my_trades(symbol="BTCUSDT").data()
    assert [(f.qty, f.commission_asset) for f in fills] == [("0.01000000", "BTC"), ("0.00999000", "USDT")]
    with pytest.raises(BadRequestError, match="insufficient balance"):
        rest.new_order(symbol="BTCUSDT", side="SELL", type="MARKET", quantity=0.01)


def test_orders_and_account_events_over_the_websocket_api(thread: ServerThread, client: Spot) -> None:
    heard: list[Any] = []

    async def scenario() -> None:
        api = client.websocket_api
        connection = await api.create_connection()
        try:
            await connection.session_logon()
            subscribed = await connection.user_data_stream_subscribe()
            subscribed.stream.on("message", heard.append)
            placed = await connection.order_place(
                symbol="BTCUSDT", side="BUY", type="LIMIT", time_in_force="GTC", quantity=0.01, price=49000
            )
            assert placed.data().result.status == "NEW"
            asked = await connection.order_status(symbol="BTCUSDT", order_id=placed.data().result.order_id)
            assert asked.data().result.is_working
            await asyncio.to_thread(thread.feed, [trade("48999", at=30)])
            await until(lambda: len(heard) == 4)
        finally:
            await connection.close_connection(close_session=True)

    asyncio.run(asyncio.wait_for(scenario(), 30))
    assert [type(event.actual_instance).__name__ for event in heard] == [
        "ExecutionReport",
        "OutboundAccountPosition",
        "ExecutionReport",
        "OutboundAccountPosition",
    ]
    assert D(str(thread.call(lambda: thread.server.venue.balances("main"))[0].free)) == D("0.00999")


def test_market_streams(thread: ServerThread, client: Spot) -> None:
    heard: dict[str, list[Any]] = {"trade": [], "best": [], "kline": []}

    async def scenario() -> None:
        connection = await client.websocket_streams.create_connection()
        try:
            (await connection.trade(symbol="btcusdt")).on("message", heard["trade"].append)
            (await connection.book_ticker(symbol="btcusdt")).on("message", heard["best"].append)
            (await connection.kline(symbol="btcusdt", interval="1m")).on("message", heard["kline"].append)
            events = [quote("50001.00", "50001.01", at=40), trade("50001.00", "0.3", at=41), kline(0)]
            await until(lambda: len(thread.server.hub.sockets) == 1)
            for turn in range(200):
                moved = [e._replace(ts_ms=e.ts_ms + turn) for e in events]
                bid = D("50001.00") + D(turn) / 100
                moved[0] = moved[0]._replace(bid=bid, ask=bid + D("0.01"))
                await asyncio.to_thread(thread.feed, moved)
                if all(heard.values()):
                    break
                await asyncio.sleep(0.02)
        finally:
            await connection.close_connection(close_session=True)

    asyncio.run(asyncio.wait_for(scenario(), 30))
    assert heard["trade"][0].q == "0.30000000"
    assert heard["best"][0].s == "BTCUSDT"
    assert heard["kline"][0].k.x is True


async def until(fits: Any) -> None:
    """Poll until something is so."""
    for _ in range(int(WAIT_SECS / 0.01)):
        if fits():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come about")
