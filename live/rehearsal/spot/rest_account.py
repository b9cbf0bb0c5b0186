"""The spot account endpoints: balances, commissions, fills, order counts, key permissions."""

from typing import Any

from live.rehearsal.serving.desk import Endpoint, Json, Security
from live.rehearsal.serving.wire import Params
from live.rehearsal.spot.rest import SpotDesk
from live.rehearsal.spot.wire import account_json, commission_json, trade_json

__all__ = ["ACCOUNT_ENDPOINTS", "account_status", "commission", "my_trades", "order_counts"]

_DAY_MS = 86_400_000


def account_status(desk: SpotDesk, account: str, params: Params) -> Json:
    """GET account."""
    hide = params.flag("omitZeroBalances") or False
    venue = desk.venue
    symbol = next(iter(venue.specs))
    return account_json(
        (each for each in venue.balances(account) if each.total or not hide),
        venue.commission_rates(account, symbol)[:2],
        venue.updated_ms(account),
        can_withdraw=account in desk.withdrawing,
    )


def commission(desk: SpotDesk, account: str, params: Params) -> Json:
    """GET account/commission."""
    spec = desk.asked_spec(params)
    return commission_json(spec.symbol, *desk.venue.commission_rates(account, spec.symbol))


def my_trades(desk: SpotDesk, account: str, params: Params) -> Json:
    """GET myTrades: by order, from an id on, by time, else the newest."""
    spec = desk.asked_spec(params)
    order_id, window = params.integer("orderId"), params.window("fromId", longest_ms=_DAY_MS)
    fills = [t for t in desk.venue.user_trades(account, spec.symbol) if order_id in {None, t.order_id}]
    kept = window.of(fills, lambda trade: trade.ts_ms, lambda trade: trade.trade_id)
    return [trade_json(trade) for trade in kept]


def order_counts(desk: SpotDesk, account: str, params: Params) -> Json:
    """GET rateLimit/order."""
    del params
    counts = desk.limiter.counts("", account, desk.clock.request_ms())
    return [each for each in counts if each["rateLimitType"] == "ORDERS"]


def key_permissions(desk: SpotDesk, account: str, params: Params) -> Json:
    """GET /sapi/v1/account/apiRestrictions."""
    del params
    return {
        "ipRestrict": True,
        "createTime": 0,
        "enableReading": True,
        "enableSpotAndMarginTrading": True,
        "enableWithdrawals": account in desk.withdrawing,
        "enableInternalTransfer": False,
        "enableMargin": False,
        "enableFutures": False,
        "permitsUniversalTransfer": False,
        "enableVanillaOptions": False,
        "enableFixApiTrade": False,
        "enableFixReadOnly": False,
        "enablePortfolioMarginTrading": False,
    }


def trade_fees(desk: SpotDesk, account: str, params: Params) -> Json:
    """GET /sapi/v1/asset/tradeFee."""
    rows = []
    for spec in desk.asked_symbols(params):
        maker, taker, _ = desk.venue.commission_rates(account, spec.symbol)
        rows.append({"symbol": spec.symbol, "makerCommission": f"{maker:f}", "takerCommission": f"{taker:f}"})
    return rows


def _trades_weight(params: Any) -> int:
    return 5 if params.get("orderId") else 20


_READ = Security.READ
ACCOUNT_ENDPOINTS = (
    Endpoint("GET", "/api/v3/account", _READ, account_status, 20),
    Endpoint("GET", "/api/v3/account/commission", _READ, commission, 20),
    Endpoint("GET", "/api/v3/myTrades", _READ, my_trades, _trades_weight),
    Endpoint("GET", "/api/v3/rateLimit/order", _READ, order_counts, 40),
    Endpoint("GET", "/sapi/v1/account/apiRestrictions", _READ, key_permissions),
    Endpoint("GET", "/sapi/v1/asset/tradeFee", _READ, trade_fees),
)
