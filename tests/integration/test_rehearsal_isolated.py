"""Isolated margin at the wire of the rehearsal server: settings, answers and messages of one position."""

from typing import Any

import pytest

from live.rehearsal.book import Funding
from live.rehearsal.serving.server import ServerThread
from tests.rehearsal_server import API, MARKET, ORDER, START_MS, D, Rest, heard, mark, quote, socket

ISOLATED = {"symbol": "BTCUSDT", "marginType": "ISOLATED"}
SIZE = {"quantity": "0.1"}


@pytest.fixture
def isolated(rest: Rest) -> Rest:
    assert rest.signed("POST", f"{API}marginType", **ISOLATED)[:2] == (200, {"code": 200, "msg": "success"})
    return rest


def told(thread: ServerThread, rest: Rest) -> Any:
    key = rest.ask("POST", f"{API}listenKey")["listenKey"]
    return socket(thread, f"/ws/{key}")


def by_symbol(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["symbol"]: row for row in rows}


def test_the_margin_type_is_told_and_refused_with_the_exchanges_texts(rest: Rest) -> None:
    crossed = rest.ask("GET", "/fapi/v2/positionRisk", symbol="BTCUSDT")[0]
    assert (crossed["marginType"], crossed["isolatedMargin"], crossed["isolatedWallet"]) == (
        "cross",
        "0.00000000",
        "0",
    )
    rest.ask("POST", f"{API}marginType", **ISOLATED)
    assert rest.signed("POST", f"{API}marginType", **ISOLATED)[:2] == (
        400,
        {"code": -4046, "msg": "No need to change margin type."},
    )
    settings = by_symbol(rest.ask("GET", f"{API}symbolConfig"))
    assert {name: row["marginType"] for name, row in settings.items()} == {
        "BTCUSDT": "ISOLATED",
        "ETHUSDT": "CROSSED",
    }
    rest.ask("POST", f"{API}order", **MARKET)
    assert rest.ask("POST", f"{API}marginType", symbol="BTCUSDT", marginType="CROSSED") == {
        "code": -4048,
        "msg": "Margin type cannot be changed if there exists position.",
    }
    rest.ask("POST", f"{API}order", **ORDER, type="LIMIT", timeInForce="GTC", quantity="0.01", price="59000")
    assert rest.ask("POST", f"{API}marginType", symbol="BTCUSDT", marginType="CROSSED") == {
        "code": -4047,
        "msg": "Margin type cannot be changed if there exists open orders.",
    }
    assert rest.ask("POST", f"{API}leverage", symbol="BTCUSDT", leverage=10) == {
        "code": -4161,
        "msg": "Leverage reduction is not supported in Isolated Margin Mode with open positions.",
    }


def test_answers_tell_the_isolated_wallet_apart(isolated: Rest) -> None:
    isolated.ask("POST", f"{API}order", **ORDER | SIZE, type="MARKET")
    # 6,000.01 / 20, less 0.1 x 0.1 at the mark; 6,000.01 x 0.05 % = 3.000005 of commission
    two = isolated.ask("GET", "/fapi/v2/positionRisk", symbol="BTCUSDT")[0]
    assert (two["marginType"], two["isolatedWallet"], two["isolatedMargin"]) == (
        "isolated",
        "300.00050000",
        "299.99050000",
    )
    # 50,000 and more pay 0.5 % less 50: not here; (6,000.01 - 300.0005) / 0.0996
    assert float(two["liquidationPrice"]) == pytest.approx(5700.0095 / 0.0996)
    (three,) = isolated.ask("GET", "/fapi/v3/positionRisk", symbol="BTCUSDT")
    assert (three["isolatedWallet"], three["isolatedMargin"]) == ("300.00050000", "299.99050000")
    assert three["liquidationPrice"] == two["liquidationPrice"]
    account = isolated.ask("GET", "/fapi/v2/account")
    held = by_symbol(account["positions"])
    assert (held["BTCUSDT"]["isolated"], held["ETHUSDT"]["isolated"]) == (True, False)
    assert held["BTCUSDT"]["isolatedWallet"] == "300.00050000"
    names = ("totalWalletBalance", "totalCrossWalletBalance", "availableBalance", "maxWithdrawAmount")
    assert [account[name] for name in names] == ["9996.99999500", *["9696.99949500"] * 3]
    assert (account["totalUnrealizedProfit"], account["totalCrossUnPnl"]) == ("-0.01000000", "0.00000000")
    (row,) = isolated.ask("GET", "/fapi/v3/account")["positions"]
    assert (row["isolatedWallet"], row["isolatedMargin"]) == ("300.00050000", "299.99050000")
    (balance,) = isolated.ask("GET", "/fapi/v3/balance")
    assert (balance["balance"], balance["crossWalletBalance"]) == ("9996.99999500", "9696.99949500")


def test_margin_is_changed_by_request_and_remembered(isolated: Rest) -> None:
    path = f"{API}positionMargin"
    add = {"symbol": "BTCUSDT", "amount": "100.0", "type": 1}
    assert isolated.ask("POST", path, **add)["code"] == -4054
    isolated.ask("POST", f"{API}order", **ORDER | SIZE, type="MARKET")
    assert isolated.ask("POST", path, **add) == {
        "amount": 100.0,
        "code": 200,
        "msg": "Successfully modify position margin.",
        "type": 1,
    }
    assert isolated.ask("POST", path, **add | {"amount": "50", "type": 2})["type"] == 2
    assert isolated.ask("POST", path, **add | {"amount": "51", "type": 2}) == {
        "code": -4051,
        "msg": "Isolated balance insufficient.",
    }
    for wrong, code in (
        ({"amount": "0"}, -4055),
        ({"amount": "10000"}, -4050),
        ({"type": 3}, -1130),
        ({"symbol": "ETHUSDT"}, -4049),
        ({"positionSide": "LONG"}, -4061),
        ({"positionSide": "UP"}, -4060),
    ):
        assert isolated.ask("POST", path, **add | wrong)["code"] == code
    assert isolated.ask("POST", path, symbol="BTCUSDT", type=1)["code"] == -1102
    rows = isolated.ask("GET", f"{path}/history", symbol="BTCUSDT")
    shown = [(row["type"], row["amount"], row["deltaType"], row["positionSide"]) for row in rows]
    assert shown == [(1, "100.00000000", "USER_ADJUST", "BOTH"), (2, "50.00000000", "USER_ADJUST", "BOTH")]
    assert isolated.ask("GET", f"{path}/history", symbol="BTCUSDT", type=2) == rows[1:]


def test_the_user_stream_tells_margin_type_wallets_funding_and_calls(
    thread: ServerThread, rest: Rest
) -> None:
    with told(thread, rest) as stream:
        rest.ask("POST", f"{API}marginType", **ISOLATED)
        (changed,) = heard(stream)
        assert (changed["e"], changed["a"]["m"], changed["a"]["B"]) == (
            "ACCOUNT_UPDATE",
            "MARGIN_TYPE_CHANGE",
            [],
        )
        assert [(p["mt"], p["iw"], p["pa"]) for p in changed["a"]["P"]] == [("isolated", "0.00000000", "0")]
        rest.ask("POST", f"{API}order", **ORDER | SIZE, type="MARKET")
        update = next(m for m in heard(stream, 4) if m["e"] == "ACCOUNT_UPDATE")["a"]
        assert (update["B"][0]["wb"], update["B"][0]["cw"]) == ("9996.99999500", "9696.99949500")
        assert (update["P"][0]["mt"], update["P"][0]["iw"]) == ("isolated", "300.00050000")
        rest.ask("POST", f"{API}positionMargin", symbol="BTCUSDT", amount="10", type=1)
        (moved,) = heard(stream)
        assert (moved["a"]["m"], moved["a"]["B"][0]["bc"], moved["a"]["B"][0]["cw"]) == (
            "MARGIN_TRANSFER",
            "0",
            "9686.99949500",
        )
        thread.feed([Funding(START_MS + 1000, "BTCUSDT", D("0.0001"))])
        (funded,) = heard(stream)
        # 6,000 x 0.01 % out of the position's wallet
        assert (funded["a"]["m"], funded["a"]["B"][0]["bc"]) == ("FUNDING_FEE", "-0.6")
        assert [(p["s"], p["iw"]) for p in funded["a"]["P"]] == [("BTCUSDT", "309.40050000")]
        # 309.4005 - 0.1 x 2,810.1 = 28.39, needed are 0.4 % of 5,719 = 22.876: 81 %
        thread.feed([quote("57190.0", "57190.1", at=2000), mark("57190", at=2000)])
        (call,) = heard(stream)
        assert (call["e"], "cw" in call) == ("MARGIN_CALL", False)
        assert (call["p"][0]["mt"], call["p"][0]["iw"]) == ("ISOLATED", "309.40050000")
        thread.feed([mark("57000", at=3000)])
        forced = heard(stream, 4)
        assert forced[-1]["a"]["m"] == "INSURANCE_CLEAR"
        assert forced[-1]["a"]["B"][0]["cw"] == "9686.99949500"
