"""The account endpoints: balances, positions, settings, income, listen keys, limits."""

from typing import Any

from live.rehearsal.errors import VenueError, refuse
from live.rehearsal.futures.desk import FuturesDesk
from live.rehearsal.futures.events import PositionView
from live.rehearsal.futures.wire_account import (
    account_v2,
    account_v3,
    balance_json,
    bracket_json,
    income_json,
    margin_change_json,
    position_v2,
    position_v3,
    symbol_config_json,
)
from live.rehearsal.serving.desk import Endpoint, Json, Security
from live.rehearsal.serving.wire import Params, newest, plain
from live.rehearsal.specs import SymbolSpec

__all__ = ["ENDPOINTS", "account_status", "account_status_v3", "balances", "positions", "positions_v3"]

_SUCCESS = {"code": 200, "msg": "success"}
_ADD, _REDUCE = 1, 2
_Views = list[tuple[PositionView, SymbolSpec]]


def account_status(desk: FuturesDesk, account: str, params: Params) -> Json:
    """GET account, version 2."""
    del params
    assets = desk.venue.account_view(account).assets
    return account_v2(assets, _positions(desk, account), can_withdraw=account in desk.withdrawing)


def account_status_v3(desk: FuturesDesk, account: str, params: Params) -> Json:
    """GET account, version 3."""
    del params
    return account_v3(desk.venue.account_view(account).assets, _engaged(desk, account))


def balances(desk: FuturesDesk, account: str, params: Params) -> Json:
    """GET balance, versions 2 and 3."""
    del params
    return [balance_json(asset) for asset in desk.venue.account_view(account).assets]


def positions(desk: FuturesDesk, account: str, params: Params) -> Json:
    """GET positionRisk, version 2: flat ones too."""
    return [position_v2(view, spec) for view, spec in _positions(desk, account, params.text("symbol"))]


def positions_v3(desk: FuturesDesk, account: str, params: Params) -> Json:
    """GET positionRisk, version 3: only symbols with a position or open orders."""
    return [position_v3(view, spec) for view, spec in _engaged(desk, account, params.text("symbol"))]


def set_leverage(desk: FuturesDesk, account: str, params: Params) -> Json:
    """POST leverage."""
    spec = desk.asked_spec(params)
    leverage = params.integer("leverage")
    if leverage is None:
        raise refuse(-1102, "leverage")
    params.finish()
    now = desk.venue.set_leverage(account, spec.symbol, leverage)
    maximum = plain(desk.venue.maximum_notional(account, spec.symbol))
    return {"leverage": now, "maxNotionalValue": maximum, "symbol": spec.symbol}


def set_margin_type(desk: FuturesDesk, account: str, params: Params) -> Json:
    """POST marginType."""
    spec, kind = desk.asked_spec(params), params.need("marginType")
    params.finish()
    desk.venue.set_margin_type(account, spec.symbol, kind)
    return dict(_SUCCESS)


def change_margin(desk: FuturesDesk, account: str, params: Params) -> Json:
    """POST positionMargin: type 1 adds to an isolated position's margin, 2 takes out of it."""
    spec, amount, kind = desk.asked_spec(params), params.decimal("amount"), _change_type(params)
    side = params.choice("positionSide", ("BOTH", "LONG", "SHORT"), refuse(-4060)) or "BOTH"
    if amount is None or kind is None:
        raise refuse(-1102, "amount" if amount is None else "type")
    params.finish()
    if amount <= 0:
        raise refuse(-4055)
    desk.venue.adjust_margin(account, spec.symbol, amount if kind == _ADD else -amount, side)
    return {
        "amount": float(amount),
        "code": 200,
        "msg": "Successfully modify position margin.",
        "type": kind,
    }


def margin_changes(desk: FuturesDesk, account: str, params: Params) -> Json:
    """GET positionMargin/history."""
    spec, kind, window = desk.asked_spec(params), _change_type(params), params.window(default=500)
    rows = [margin_change_json(change) for change in desk.venue.margin_changes(account, spec.symbol)]
    chosen = [row for row in rows if window.covers(row["time"]) and kind in {None, row["type"]}]
    return newest(chosen, window.limit)


def _change_type(params: Params) -> int | None:
    kind = params.integer("type")
    if kind not in {None, _ADD, _REDUCE}:
        raise refuse(-1130, "type")
    return kind


def position_mode(desk: FuturesDesk, account: str, params: Params) -> Json:
    """GET positionSide/dual."""
    del params
    return {"dualSidePosition": desk.venue.position_mode(account)}


def set_position_mode(desk: FuturesDesk, account: str, params: Params) -> Json:
    """POST positionSide/dual."""
    hedge = params.flag("dualSidePosition")
    if hedge is None:
        raise refuse(-1102, "dualSidePosition")
    params.finish()
    desk.venue.set_position_mode(account, hedge)
    return dict(_SUCCESS)


def multi_assets(desk: FuturesDesk, account: str, params: Params) -> Json:
    """GET multiAssetsMargin: always single-asset mode."""
    del desk, account, params
    return {"multiAssetsMargin": False}


def set_multi_assets(desk: FuturesDesk, account: str, params: Params) -> Json:
    """POST multiAssetsMargin: only the mode that it is in already, which is refused as on the exchange."""
    del desk, account
    wanted = params.flag("multiAssetsMargin")
    if wanted is None:
        raise refuse(-1102, "multiAssetsMargin")
    raise refuse(-1020) if wanted else VenueError(-4171, "No need to change multi-assets mode.")


def commission_rate(desk: FuturesDesk, account: str, params: Params) -> Json:
    """GET commissionRate."""
    spec = desk.asked_spec(params)
    maker, taker = desk.venue.commission_rates(account, spec.symbol)
    return {
        "symbol": spec.symbol,
        "makerCommissionRate": plain(maker),
        "takerCommissionRate": plain(taker),
    }


def leverage_brackets(desk: FuturesDesk, account: str, params: Params) -> Json:
    """GET leverageBracket: a list, also for one symbol."""
    del account
    return [bracket_json(spec) for spec in desk.asked_symbols(params)]


def symbol_config(desk: FuturesDesk, account: str, params: Params) -> Json:
    """GET symbolConfig."""
    return [
        symbol_config_json(
            spec.symbol,
            desk.venue.margin_type(account, spec.symbol),
            desk.venue.leverage(account, spec.symbol),
            desk.venue.maximum_notional(account, spec.symbol),
        )
        for spec in desk.asked_symbols(params)
    ]


def account_config(desk: FuturesDesk, account: str, params: Params) -> Json:
    """GET accountConfig."""
    del params
    return {
        "feeTier": 0,
        "canTrade": True,
        "canDeposit": True,
        "canWithdraw": account in desk.withdrawing,
        "dualSidePosition": desk.venue.position_mode(account),
        "updateTime": 0,
        "multiAssetsMargin": False,
        "tradeGroupId": -1,
    }


def key_permissions(desk: FuturesDesk, account: str, params: Params) -> Json:
    """GET /sapi/v1/account/apiRestrictions, which the exchange's spot host answers."""
    del params
    return {
        "ipRestrict": True,
        "createTime": 0,
        "enableReading": True,
        "enableSpotAndMarginTrading": False,
        "enableWithdrawals": account in desk.withdrawing,
        "enableFutures": True,
    }


def income(desk: FuturesDesk, account: str, params: Params) -> Json:
    """GET income: by time from the oldest, else the newest."""
    symbol, kind = params.text("symbol"), params.text("incomeType")
    window, page = params.window(default=100), params.integer("page", least=1)
    chosen = [entry for entry in desk.venue.income(account, symbol, kind) if window.covers(entry.ts_ms)]
    if page is not None or window.start_ms is not None:
        first = ((page or 1) - 1) * window.limit
        return [income_json(entry) for entry in chosen[first : first + window.limit]]
    return [income_json(entry) for entry in newest(chosen, window.limit)]


def order_limits(desk: FuturesDesk, account: str, params: Params) -> Json:
    """GET rateLimit/order."""
    del account, params
    return [limit for limit in reversed(desk.limiter.limits.as_json()) if limit["rateLimitType"] == "ORDERS"]


def trading_status(desk: FuturesDesk, account: str, params: Params) -> Json:
    """GET apiTradingStatus: no indicator is near its limit here."""
    del account
    params.ignore("symbol")
    return {"indicators": {}, "updateTime": desk.clock.request_ms()}


def adl_quantile(desk: FuturesDesk, account: str, params: Params) -> Json:
    """GET adlQuantile: nobody else is here to be before, so all are last in the queue."""
    symbol = params.text("symbol")
    rows: dict[str, dict[str, Any]] = {}
    for view, _ in _positions(desk, account, symbol):
        quantile = rows.setdefault(view.symbol, {"symbol": view.symbol, "adlQuantile": {}})
        quantile["adlQuantile"][view.side] = 1 if view.amount else 0
    return list(rows.values())


def fee_burn(desk: FuturesDesk, account: str, params: Params) -> Json:
    """GET feeBurn: commissions are paid in the margin asset."""
    del desk, account, params
    return {"feeBurn": False}


def new_listen_key(desk: FuturesDesk, account: str, params: Params) -> Json:
    """POST listenKey."""
    del params
    return {"listenKey": desk.listen_keys.issue(account, desk.clock.request_ms())}


def renew_listen_key(desk: FuturesDesk, account: str, params: Params) -> Json:
    """PUT listenKey."""
    params.ignore("listenKey")
    return {"listenKey": desk.listen_keys.renew(account, desk.clock.request_ms())}


def close_listen_key(desk: FuturesDesk, account: str, params: Params) -> Json:
    """DELETE listenKey."""
    params.ignore("listenKey")
    desk.listen_keys.close(account)
    return {}


def _positions(desk: FuturesDesk, account: str, symbol: str | None = None) -> _Views:
    return [(view, desk.spec(view.symbol)) for view in desk.venue.positions(account, symbol)]


def _engaged(desk: FuturesDesk, account: str, symbol: str | None = None) -> _Views:
    """Those with an amount or with open orders."""
    return [
        (view, spec)
        for view, spec in _positions(desk, account, symbol)
        if view.amount or view.bid_notional or view.ask_notional
    ]


_DUAL = "/fapi/v1/positionSide/dual"
_MULTI = "/fapi/v1/multiAssetsMargin"
_LISTEN = "/fapi/v1/listenKey"
ENDPOINTS = (
    Endpoint("GET", "/fapi/v2/account", Security.READ, account_status, 5),
    Endpoint("GET", "/fapi/v3/account", Security.READ, account_status_v3, 5),
    Endpoint("GET", "/fapi/v2/balance", Security.READ, balances, 5),
    Endpoint("GET", "/fapi/v3/balance", Security.READ, balances, 5),
    Endpoint("GET", "/fapi/v2/positionRisk", Security.READ, positions, 5),
    Endpoint("GET", "/fapi/v3/positionRisk", Security.READ, positions_v3, 5),
    Endpoint("POST", "/fapi/v1/leverage", Security.TRADE, set_leverage),
    Endpoint("POST", "/fapi/v1/marginType", Security.TRADE, set_margin_type),
    Endpoint("POST", "/fapi/v1/positionMargin", Security.TRADE, change_margin),
    Endpoint("GET", "/fapi/v1/positionMargin/history", Security.READ, margin_changes),
    Endpoint("GET", _DUAL, Security.READ, position_mode, 30),
    Endpoint("POST", _DUAL, Security.TRADE, set_position_mode),
    Endpoint("GET", _MULTI, Security.READ, multi_assets, 30),
    Endpoint("POST", _MULTI, Security.TRADE, set_multi_assets),
    Endpoint("GET", "/fapi/v1/commissionRate", Security.READ, commission_rate, 20),
    Endpoint("GET", "/fapi/v1/leverageBracket", Security.READ, leverage_brackets),
    Endpoint("GET", "/fapi/v1/symbolConfig", Security.READ, symbol_config, 5),
    Endpoint("GET", "/fapi/v1/accountConfig", Security.READ, account_config, 5),
    Endpoint("GET", "/sapi/v1/account/apiRestrictions", Security.READ, key_permissions),
    Endpoint("GET", "/fapi/v1/income", Security.READ, income, 30),
    Endpoint("GET", "/fapi/v1/rateLimit/order", Security.READ, order_limits),
    Endpoint("GET", "/fapi/v1/apiTradingStatus", Security.READ, trading_status),
    Endpoint("GET", "/fapi/v1/adlQuantile", Security.READ, adl_quantile, 5),
    Endpoint("GET", "/fapi/v1/feeBurn", Security.READ, fee_burn, 30),
    Endpoint("POST", _LISTEN, Security.KEY, new_listen_key),
    Endpoint("PUT", _LISTEN, Security.KEY, renew_listen_key),
    Endpoint("DELETE", _LISTEN, Security.KEY, close_listen_key),
)
