"""Balances, positions, margin and settings as JSON.

Shapes: Binance's documented answers of account, balance and positionRisk (versions 2 and 3) and the
endpoints around them. One margin asset's numbers are its own; totals are sums over assets, which is right as
long as each is worth about a dollar (USDT and USDC).
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from live.rehearsal.futures.events import AssetView, PositionView
from live.rehearsal.futures.orders import Income, MarginChange
from live.rehearsal.serving.wire import money, plain, quantity_text, solid
from live.rehearsal.specs import SymbolSpec

__all__ = [
    "account_v2",
    "account_v3",
    "balance_json",
    "bracket_json",
    "income_json",
    "margin_change_json",
    "position_v2",
    "position_v3",
    "symbol_config_json",
]

Json = dict[str, Any]
ZERO = Decimal(0)
_TRADE_GROUP = -1
_ALIAS = "SgsR"


def account_v2(
    assets: Sequence[AssetView], positions: Iterable[tuple[PositionView, SymbolSpec]], *, can_withdraw: bool
) -> Json:
    """GET /fapi/v2/account."""
    head: Json = {
        "feeTier": 0,
        "canTrade": True,
        "canDeposit": True,
        "canWithdraw": can_withdraw,
        "updateTime": 0,
        "multiAssetsMargin": False,
        "tradeGroupId": _TRADE_GROUP,
    }
    rows = [_asset(asset) | {"marginAvailable": True} for asset in assets]
    return head | _totals(assets) | {"assets": rows, "positions": [_held_v2(*pair) for pair in positions]}


def account_v3(assets: Sequence[AssetView], positions: Iterable[tuple[PositionView, SymbolSpec]]) -> Json:
    """GET /fapi/v3/account: only symbols with a position or open orders are given."""
    return _totals(assets) | {
        "assets": [_asset(asset) for asset in assets],
        "positions": [_held_v3(*pair) for pair in positions],
    }


def balance_json(asset: AssetView) -> Json:
    """One asset of GET balance (versions 2 and 3 are alike)."""
    return {
        "accountAlias": _ALIAS,
        "asset": asset.asset,
        "balance": money(asset.wallet),
        "crossWalletBalance": money(asset.cross_wallet),
        "crossUnPnl": money(asset.cross_unrealized),
        "availableBalance": money(asset.available),
        "maxWithdrawAmount": money(asset.max_withdraw),
        "marginAvailable": True,
        "updateTime": asset.updated_ms,
    }


def position_v2(view: PositionView, spec: SymbolSpec) -> Json:
    """One position of GET /fapi/v2/positionRisk."""
    return {
        "symbol": view.symbol,
        "positionAmt": quantity_text(spec, view.amount),
        "entryPrice": solid(view.entry_price),
        "breakEvenPrice": solid(view.break_even_price),
        "markPrice": money(view.mark_price),
        "unRealizedProfit": money(view.unrealized),
        "liquidationPrice": _or_zero(view.liquidation_price),
        "leverage": str(view.leverage),
        "maxNotionalValue": plain(view.maximum_notional),
        "marginType": "isolated" if view.isolated else "cross",
        "isolatedMargin": money(view.isolated_margin),
        "isAutoAddMargin": "false",
        "positionSide": view.side,
        "notional": _or_zero(view.notional),
        "isolatedWallet": _or_zero(view.isolated_wallet),
        "updateTime": view.updated_ms,
    }


def position_v3(view: PositionView, spec: SymbolSpec) -> Json:
    """One position of GET /fapi/v3/positionRisk."""
    return {
        "symbol": view.symbol,
        "positionSide": view.side,
        "positionAmt": quantity_text(spec, view.amount),
        "entryPrice": solid(view.entry_price),
        "breakEvenPrice": solid(view.break_even_price),
        "markPrice": money(view.mark_price),
        "unRealizedProfit": money(view.unrealized),
        "liquidationPrice": _or_zero(view.liquidation_price),
        "isolatedMargin": _or_zero(view.isolated_margin),
        "notional": _or_zero(view.notional),
        "marginAsset": view.margin_asset,
        "isolatedWallet": _or_zero(view.isolated_wallet),
        "initialMargin": _or_zero(view.initial_margin),
        "maintMargin": _or_zero(view.maintenance_margin),
        "positionInitialMargin": _or_zero(view.position_margin),
        "openOrderInitialMargin": _or_zero(view.order_margin),
        "adl": 1 if view.amount else 0,
        "bidNotional": _or_zero(view.bid_notional),
        "askNotional": _or_zero(view.ask_notional),
        "updateTime": view.updated_ms,
    }


def bracket_json(spec: SymbolSpec) -> Json:
    """A symbol's leverage brackets."""
    return {
        "symbol": spec.symbol,
        "notionalCoef": 1.0,
        "brackets": [
            {
                "bracket": bracket.bracket,
                "initialLeverage": bracket.initial_leverage,
                "notionalCap": int(bracket.notional_cap),
                "notionalFloor": int(bracket.notional_floor),
                "maintMarginRatio": float(bracket.maintenance_rate),
                "cum": float(bracket.cum),
            }
            for bracket in spec.brackets
        ],
    }


def income_json(income: Income) -> Json:
    """One change of the wallet."""
    return {
        "symbol": income.symbol,
        "incomeType": income.kind,
        "income": money(income.amount),
        "asset": income.asset,
        "time": income.ts_ms,
        "info": income.info,
        "tranId": income.tran_id,
        "tradeId": str(income.trade_id) if income.trade_id else "",
    }


def margin_change_json(change: MarginChange) -> Json:
    """Margin added to an isolated position (type 1) or taken out of it (type 2)."""
    return {
        "symbol": change.symbol,
        "type": 1 if change.amount > 0 else 2,
        "deltaType": "USER_ADJUST",
        "amount": money(abs(change.amount)),
        "asset": change.asset,
        "time": change.ts_ms,
        "positionSide": change.position_side,
    }


def symbol_config_json(symbol: str, margin_type: str, leverage: int, maximum: Decimal) -> Json:
    """A symbol's settings."""
    return {
        "symbol": symbol,
        "marginType": margin_type,
        "isAutoAddMargin": False,
        "leverage": leverage,
        "maxNotionalValue": plain(maximum),
    }


def _asset(asset: AssetView) -> Json:
    return {
        "asset": asset.asset,
        "walletBalance": money(asset.wallet),
        "unrealizedProfit": money(asset.unrealized),
        "marginBalance": money(asset.margin_balance),
        "maintMargin": money(asset.maintenance_margin),
        "initialMargin": money(asset.initial_margin),
        "positionInitialMargin": money(asset.position_margin),
        "openOrderInitialMargin": money(asset.order_margin),
        "crossWalletBalance": money(asset.cross_wallet),
        "crossUnPnl": money(asset.cross_unrealized),
        "availableBalance": money(asset.available),
        "maxWithdrawAmount": money(asset.max_withdraw),
        "updateTime": asset.updated_ms,
    }


def _totals(assets: Sequence[AssetView]) -> Json:
    rows = [_asset(asset) for asset in assets]
    names = {
        "totalInitialMargin": "initialMargin",
        "totalMaintMargin": "maintMargin",
        "totalWalletBalance": "walletBalance",
        "totalUnrealizedProfit": "unrealizedProfit",
        "totalMarginBalance": "marginBalance",
        "totalPositionInitialMargin": "positionInitialMargin",
        "totalOpenOrderInitialMargin": "openOrderInitialMargin",
        "totalCrossWalletBalance": "crossWalletBalance",
        "totalCrossUnPnl": "crossUnPnl",
        "availableBalance": "availableBalance",
        "maxWithdrawAmount": "maxWithdrawAmount",
    }
    return {total: money(sum((Decimal(row[name]) for row in rows), ZERO)) for total, name in names.items()}


def _held_v2(view: PositionView, spec: SymbolSpec) -> Json:
    return {
        "symbol": view.symbol,
        "initialMargin": _or_zero(view.initial_margin),
        "maintMargin": _or_zero(view.maintenance_margin),
        "unrealizedProfit": money(view.unrealized),
        "positionInitialMargin": _or_zero(view.position_margin),
        "openOrderInitialMargin": _or_zero(view.order_margin),
        "leverage": str(view.leverage),
        "isolated": view.isolated,
        "entryPrice": solid(view.entry_price),
        "breakEvenPrice": solid(view.break_even_price),
        "maxNotional": plain(view.maximum_notional),
        "bidNotional": _or_zero(view.bid_notional),
        "askNotional": _or_zero(view.ask_notional),
        "positionSide": view.side,
        "positionAmt": quantity_text(spec, view.amount),
        "notional": _or_zero(view.notional),
        "isolatedWallet": _or_zero(view.isolated_wallet),
        "updateTime": view.updated_ms,
    }


def _held_v3(view: PositionView, spec: SymbolSpec) -> Json:
    return {
        "symbol": view.symbol,
        "positionSide": view.side,
        "positionAmt": quantity_text(spec, view.amount),
        "unrealizedProfit": money(view.unrealized),
        "isolatedMargin": money(view.isolated_margin),
        "notional": _or_zero(view.notional),
        "isolatedWallet": _or_zero(view.isolated_wallet),
        "initialMargin": _or_zero(view.initial_margin),
        "maintMargin": _or_zero(view.maintenance_margin),
        "updateTime": view.updated_ms,
    }


def _or_zero(value: Decimal) -> str:
    return money(value) if value else "0"
