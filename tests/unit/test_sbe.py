"""SBE frames of the spot rehearsal, read back by hand-written layouts."""

import struct
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live.rehearsal.spot.sbe import answer, encode, wanted

NONE_64 = -(2**63)
ORDER: dict[str, Any] = {
    "symbol": "BTCUSDT",
    "orderId": 28,
    "orderListId": -1,
    "clientOrderId": "x-1",
    "price": "60000.10000000",
    "origQty": "0.01000000",
    "executedQty": "0.00400000",
    "cummulativeQuoteQty": "240.00040000",
    "status": "PARTIALLY_FILLED",
    "timeInForce": "GTC",
    "type": "LIMIT_MAKER",
    "side": "SELL",
    "stopPrice": "0.00000000",
    "icebergQty": "0.00000000",
    "time": 1_700_000_000_123,
    "updateTime": 1_700_000_000_456,
    "isWorking": True,
    "workingTime": -1,
    "origQuoteOrderQty": "0.00000000",
    "selfTradePreventionMode": "EXPIRE_MAKER",
}
# exponents .. side, stopPrice .. strategyType, capacity .. usedSor, pegged, expiryReason
KEPT = "<bbqqqqqqBBBBqqqqqqBqqqiBBBqqBBBBqB"
SENT: dict[str, Any] = {
    "symbol": "BTCUSDT",
    "orderId": 7,
    "orderListId": 3,
    "clientOrderId": "a",
    "transactTime": 1_700_000_000_000,
    "price": "0.00000000",
    "origQty": "0.50000000",
    "executedQty": "0.50000000",
    "cummulativeQuoteQty": "30000.00000000",
    "status": "FILLED",
    "timeInForce": "GTC",
    "type": "MARKET",
    "side": "BUY",
    "workingTime": 1_700_000_000_000,
    "selfTradePreventionMode": "NONE",
    "fills": [
        {
            "price": "60000.00000000",
            "qty": "0.50000000",
            "commission": "0.000500000",
            "commissionAsset": "BTC",
            "tradeId": 99,
        }
    ],
}


def header(frame: bytes) -> tuple[Any, ...]:
    """Block length, template, schema, version."""
    return struct.unpack("<HHHH", frame[:8])


def texts(tail: bytes) -> list[str]:
    """Texts with one byte of length."""
    found = []
    while tail:
        size = tail[0]
        assert len(tail) > size
        found.append(tail[1 : 1 + size].decode())
        tail = tail[1 + size :]
    return found


def test_a_ping_is_a_header_alone() -> None:
    assert answer("/api/v3/ping", "GET", {}) == bytes.fromhex("0000650003000500")


def test_the_time_is_in_microseconds() -> None:
    frame = answer("/api/v3/time", "GET", {"serverTime": 1_700_000_000_123})
    # 1700000000123000 = 0x60a2418202078
    assert frame == bytes.fromhex("0800660003000500" + "78202018240a0600")


def test_a_book_is_levels_of_whole_numbers_with_two_exponents() -> None:
    body = {"lastUpdateId": 5, "bids": [["1.50", "2.000"]], "asks": [["1.60", "0.125"], ["1.7", "4"]]}
    frame = answer("/api/v3/depth", "GET", body)
    assert frame == bytes.fromhex(
        "0a00c80003000500"  # ten bytes of block, template 200
        "0500000000000000fefd"  # update 5, exponents -2 and -3
        "100001000000"  # one bid of sixteen bytes
        "9600000000000000d007000000000000"
        "100002000000"  # two asks
        "a0000000000000007d00000000000000"
        "aa00000000000000a00f000000000000"
    )


def test_an_error_has_its_code_and_text_and_no_data() -> None:
    frame = answer("/api/v3/order", "GET", {"code": -2013, "msg": "Order does not exist."}, 400)
    text = b"Order does not exist."
    nothing = bytes.fromhex("0000000000000080")
    assert frame == bytes.fromhex("1200640003000500" + "23f8") + nothing * 2 + b"\x15\x00" + text + bytes(4)


def test_an_order_fills_a_block_of_163_bytes() -> None:
    frame = answer("/api/v3/order", "GET", ORDER)
    assert header(frame) == (163, 304, 3, 5)
    assert struct.calcsize(KEPT) == 163
    got = struct.unpack(KEPT, frame[8:171])
    assert got[:12] == (
        -8,
        -8,
        28,
        NONE_64,
        6_000_010_000_000,
        1_000_000,
        400_000,
        24_000_040_000,
        1,
        0,
        6,
        1,
    )
    assert got[12:18] == (0, NONE_64, NONE_64, 0, 1_700_000_000_123_000, 1_700_000_000_456_000)
    assert got[18:26] == (1, NONE_64, 0, NONE_64, -(2**31), 1, 1, 3)
    assert got[26:] == (NONE_64, 0, 0, 255, 255, 255, NONE_64, 255)
    assert texts(frame[171:]) == ["BTCUSDT", "x-1"]


def test_orders_are_a_group_of_the_same_block() -> None:
    frame = answer("/api/v3/openOrders", "GET", [ORDER, ORDER | {"orderId": 29}])
    assert header(frame) == (0, 308, 3, 5)
    assert struct.unpack("<HI", frame[8:14]) == (163, 2)
    one = 163 + 8 + 4
    assert len(frame) == 14 + 2 * one
    assert struct.unpack(KEPT, frame[14 + one : 14 + one + 163])[2] == 29


def test_no_orders_are_an_empty_group() -> None:
    assert answer("/api/v3/openOrders", "GET", []) == bytes.fromhex("0000340103000500a30000000000")


def test_a_filled_order_tells_its_fills() -> None:
    frame = answer("/api/v3/order", "POST", SENT)
    assert header(frame) == (154, 302, 3, 5)
    assert struct.unpack("<bbqqq", frame[8:34]) == (-8, -8, 7, 3, 1_700_000_000_000_000)
    fills = frame[8 + 154 :]
    assert struct.unpack("<HI", fills[:6]) == (42, 1)
    assert struct.unpack("<bBqqqqq", fills[6:48]) == (
        -9,
        1,
        6_000_000_000_000,
        50_000_000,
        500_000,
        99,
        NONE_64,
    )
    assert texts(fills[48:52]) == ["BTC"]
    assert struct.unpack("<HI", fills[52:58]) == (40, 0)
    assert texts(fills[58:]) == ["BTCUSDT", "a"]


def test_the_answer_to_a_new_order_has_the_form_of_its_body() -> None:
    result = {key: value for key, value in SENT.items() if key != "fills"}
    assert header(answer("/api/v3/order", "POST", result))[:2] == (154, 301)
    ack = {key: SENT[key] for key in ("symbol", "orderId", "orderListId", "clientOrderId", "transactTime")}
    assert header(answer("/api/v3/order", "POST", ack))[:2] == (24, 300)


def test_a_cancel_names_both_client_ids_and_one_of_a_list_tells_the_list() -> None:
    cancelled = SENT | {"origClientOrderId": "o", "status": "CANCELED"}
    frame = answer("/api/v3/order", "DELETE", cancelled)
    assert header(frame) == (137, 305, 3, 5)
    assert texts(frame[8 + 137 :]) == ["BTCUSDT", "o", "a"]
    member = {"symbol": "BTCUSDT", "orderId": 7, "clientOrderId": "a"}
    listed = {
        "orderListId": 3,
        "contingencyType": "OCO",
        "listStatusType": "ALL_DONE",
        "listOrderStatus": "ALL_DONE",
        "listClientOrderId": "L",
        "transactionTime": 1_700_000_000_000,
        "symbol": "BTCUSDT",
        "orders": [member],
        "orderReports": [cancelled],
    }
    whole = answer("/api/v3/order", "DELETE", listed)
    assert header(whole) == (21, 312, 3, 5)
    assert struct.unpack("<qBBBqbb", whole[8:29]) == (3, 1, 2, 2, 1_700_000_000_000_000, -8, -8)
    assert struct.unpack("<HH", whole[29:33]) == (8, 1)  # these two groups are counted with two bytes
    both = answer("/api/v3/openOrders", "DELETE", [cancelled, listed])
    assert struct.unpack("<HI", both[8:14]) == (0, 2)
    size = struct.unpack("<H", both[14:16])[0]
    assert both[16 : 16 + size] == frame
    assert both[16 + size + 2 :] == whole


def test_an_account_tells_rates_and_balances_each_with_its_own_exponent() -> None:
    body = {
        "commissionRates": {"maker": "0.00075", "taker": "0.001", "buyer": "0", "seller": "0"},
        "canTrade": True,
        "canWithdraw": False,
        "canDeposit": True,
        "updateTime": 1,
        "accountType": "SPOT",
        "balances": [{"asset": "BTC", "free": "0.5", "locked": "0.00000001"}],
        "permissions": ["SPOT"],
        "uid": 42,
    }
    frame = answer("/api/v3/account", "GET", body)
    assert header(frame) == (64, 400, 3, 5)
    assert struct.unpack("<bqqqq", frame[8:41]) == (-5, 75, 100, 0, 0)
    assert struct.unpack("<BBBBBBqBqq", frame[41:72]) == (1, 0, 1, 0, 0, 0, 1_000, 0, NONE_64, 42)
    assert struct.unpack("<HIbqq", frame[72:95]) == (17, 1, -8, 50_000_000, 1)
    assert frame[95:] == b"\x03BTC" + bytes(2) + b"\x01\0\0\0\x04SPOT" + bytes(2) + bytes(4)


def test_a_candle_has_volumes_of_sixteen_bytes() -> None:
    row = [1, "2.5", "3", "2", "2.5", "1.25", 60_000, "99999999999999999999.5", 7, "0", "0", "0"]
    frame = answer("/api/v3/klines", "GET", [row])
    assert struct.unpack("<bb", frame[8:10]) == (-1, -2)
    assert struct.unpack("<HI", frame[10:16]) == (120, 1)
    assert struct.unpack("<qqqqq", frame[16:56]) == (1_000, 25, 30, 20, 25)
    assert int.from_bytes(frame[56:72], "little", signed=True) == 125
    assert int.from_bytes(frame[80:96], "little", signed=True) == 999_999_999_999_999_999_995


def test_exchange_information_holds_filters_as_frames_and_kinds_of_orders_as_bits() -> None:
    symbol = {
        "symbol": "BTCUSDT",
        "status": "TRADING",
        "baseAsset": "BTC",
        "baseAssetPrecision": 8,
        "quoteAsset": "USDT",
        "quoteAssetPrecision": 8,
        "orderTypes": ["MARKET", "LIMIT", "STOP_LOSS", "LIMIT_MAKER", "NEVER_HEARD_OF"],
        "icebergAllowed": False,
        "ocoAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "allowedSelfTradePreventionModes": ["NONE", "EXPIRE_TAKER"],
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "100", "tickSize": "0.01"}
        ],
        "permissionSets": [["SPOT", "MARGIN"]],
    }
    frame = answer(
        "/api/v3/exchangeInfo", "GET", {"rateLimits": [], "exchangeFilters": [], "symbols": [symbol]}
    )
    assert frame[8:26] == struct.pack("<HIHIHI", 11, 0, 0, 0, 19, 1)
    assert struct.unpack("<BBBBBH", frame[26:33]) == (0, 8, 8, 8, 8, 0b1000_0000_0100_0111)
    assert frame[33:45] == bytes([0, 1, 0, 0, 0, 0, 0, 1, 0, 1, 0b11, 255])
    price_filter = struct.pack("<HHHHbqqq", 25, 1, 3, 5, -2, 1, 10_000, 1)
    assert frame[45 : 51 + 1 + 33] == struct.pack("<HIB", 0, 1, 33) + price_filter
    permissions = struct.pack("<HIHI", 0, 1, 0, 2) + b"\x04SPOT\x06MARGIN"
    names = b"\x07BTCUSDT\x03BTC\x04USDT"
    no_routes = struct.pack("<HI", 0, 0)
    assert frame[85:] == permissions + names + no_routes


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"price": None}, "OrderResponse.price"),
        ({"price": "99999999999999.00000000"}, "does not fit"),
        ({"clientOrderId": "x" * 256}, "OrderResponse.clientOrderId: the length: 256 does not fit"),
        ({"orderId": "seven"}, "OrderResponse.orderId: 'seven' is no whole number"),
        ({"price": "NaN"}, "is no decimal"),
    ],
)
def test_what_a_template_cannot_hold_is_an_error_with_the_name_of_the_field(change: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        encode("OrderResponse", ORDER | change)


def test_an_unknown_path_or_template_is_an_error() -> None:
    with pytest.raises(ValueError, match="GET /api/v3/unheard: no SBE template"):
        answer("/api/v3/unheard", "GET", {})
    with pytest.raises(ValueError, match="no SBE template is called X"):
        encode("X", {})


def test_sbe_is_asked_for_with_the_accept_header() -> None:
    assert wanted({"accept": "application/sbe"})
    assert not wanted({"Accept": "application/json"})
    assert not wanted({})


DECIMALS = st.decimals(min_value=0, max_value=10**9, places=8)


@given(
    price=DECIMALS, quantity=DECIMALS, number=st.integers(1, 2**62), name=st.text("abcXYZ-_19", min_size=1)
)
def test_any_order_comes_back_as_it_was(price: Decimal, quantity: Decimal, number: int, name: str) -> None:
    name = name[:36]
    changes = {"price": f"{price:f}", "origQty": f"{quantity:f}", "orderId": number, "clientOrderId": name}
    frame = encode("OrderResponse", ORDER | changes)
    got = struct.unpack(KEPT, frame[8:171])
    assert Decimal(got[4]).scaleb(got[0]) == price
    assert Decimal(got[5]).scaleb(got[1]) == quantity
    assert got[2] == number
    assert texts(frame[171:]) == ["BTCUSDT", name]


@given(levels=st.lists(st.tuples(DECIMALS, DECIMALS), max_size=20))
def test_any_book_comes_back_as_it_was(levels: list[tuple[Decimal, Decimal]]) -> None:
    frame = encode(
        "DepthResponse", {"lastUpdateId": 1, "bids": [[f"{p:f}", f"{q:f}"] for p, q in levels], "asks": []}
    )
    price_exponent, quantity_exponent = struct.unpack("<bb", frame[16:18])
    size, count = struct.unpack("<HI", frame[18:24])
    assert (size, count) == (16, len(levels))
    rows = struct.iter_unpack("<qq", frame[24 : 24 + 16 * count])
    back = [(Decimal(p).scaleb(price_exponent), Decimal(q).scaleb(quantity_exponent)) for p, q in rows]
    assert back == levels
    assert frame[24 + 16 * count :] == struct.pack("<HI", 16, 0)
