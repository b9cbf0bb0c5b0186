"""Preflight's checks of the account: clock, keys, permissions, modes, settings, what is open there."""

from urllib.parse import urlsplit

from live.checks.known import is_known, stranger
from live.checks.report import Context, Row, failed, ok, warned
from live.venue.answers import AlgoOrder, OpenOrder, Position
from live.venue.client import SPOT_URL
from live.venue.errors import VenueRequestError
from live.venue.stop_cover import cover_of
from live.venues import VenueKind

__all__ = [
    "check_clock",
    "check_keys",
    "check_leverage",
    "check_margin_type",
    "check_open",
    "check_permissions",
    "check_position_mode",
]

_CLOCK_TRIES = 3
_RAGGED_ADVICE = "close it at the venue ('close position' takes all of it): orders in steps leave a rest"
_STRANGE_ADVICE = (
    "close or cancel that at the venue, or give --adopt: the node covers and closes what it has no plan for"
)
_OFFICIAL = (".binance.com", ".binancefuture.com")
_TIME_ADVICE = "set this machine's clock by NTP (chrony, systemd-timesyncd, w32time) and try again"
_KEY_ADVICE = {
    -1022: "the secret does not belong to the key: copy both again",
    -2014: "the key has no key's shape: copy it again, without spaces",
    -2015: "check the key itself, its IP restriction, and that it is enabled for futures",
    -1021: _TIME_ADVICE,
}


def check_clock(context: Context) -> Row:
    """The best of a few readings: the request that took the shortest says the most."""
    tolerances = context.tolerances
    reading = min((context.client.clock() for _ in range(_CLOCK_TRIES)), key=lambda r: r.round_trip_ms)
    skew = max(0.0, abs(reading.offset_ms) - reading.round_trip_ms / 2)
    way = "behind" if reading.offset_ms > 0 else "ahead of"
    found = (
        f"this clock is {abs(reading.offset_ms):.0f} ms {way} the venue's "
        f"(within {reading.round_trip_ms / 2:.0f} ms)"
    )
    if skew > tolerances.skew_ms:
        return failed("clock", found, _TIME_ADVICE)
    return warned("clock", found, _TIME_ADVICE) if skew > tolerances.warn_skew_ms else ok("clock", found)


def check_keys(context: Context) -> Row:
    """Whether the venue knows the key and takes its signature."""
    try:
        account = context.account
    except VenueRequestError as error:
        if error.may_pass and context.setup.patience_secs:
            raise
        advice = _KEY_ADVICE.get(
            error.code or 0, "see the venue's answer; keys are made in its API management"
        )
        return failed("keys", str(error), advice)
    if not account.can_trade:
        return failed("keys", "the account may not trade", "see the venue's notices for this account")
    return ok("keys", "known to the venue, the signature is right")


def check_permissions(context: Context) -> Row:
    """Trading allowed, withdrawing not.

    What a key may do is told by the spot host, which the testnet has not; at other addresses than Binance's
    by that address itself. (The futures account's own `canWithdraw` means transfers, which everybody has.)
    """
    if context.setup.may_trade and not _may_trade(context):
        return failed(
            "permissions", "the key may read only", "enable futures trading for the key in the API management"
        )
    host = urlsplit(context.client.base_url).hostname or ""
    is_official = host.endswith(_OFFICIAL)
    if context.setup.kind is VenueKind.TESTNET and is_official:
        return ok("permissions", "may trade; on the testnet there is nothing to withdraw")
    return _told_permissions(context, SPOT_URL if is_official else None)


def _told_permissions(context: Context, url: str | None) -> Row:
    told = context.client.permissions(url)
    if told.enable_withdrawals:
        return _withdrawing()
    if not told.enable_futures:
        if not context.setup.may_trade:
            return warned("permissions", "may read only", "enough to look on; enable futures to trade")
        return failed("permissions", "no futures permission", "enable futures for the key")
    if not told.ip_restrict:
        return warned(
            "permissions", "the key works from every address", "restrict the key to this machine's address"
        )
    return ok("permissions", "may trade futures, may not withdraw, bound to addresses")


def _withdrawing() -> Row:
    advice = "take the withdrawal permission from the key, or make a key without it; a bot never needs it"
    return failed("permissions", "the key may withdraw", advice)


def _may_trade(context: Context) -> bool:
    """By an order that is checked and not entered. Only a refused permission counts."""
    symbol = context.symbols[0]
    rules = context.rules(symbol)
    price = context.client.mark_price(symbol) // rules.tick * rules.tick
    quantity = rules.min_quantity
    if 0 < price * quantity < rules.min_notional:  # Decimal's // cuts towards zero: it cannot round up
        quantity = (rules.min_notional / price // rules.step + 1) * rules.step
    try:
        context.client.try_order(symbol, "BUY", quantity, price)
    except VenueRequestError as error:
        if error.code == -2015:
            return False
        if error.kind == "network":
            raise
    return True


def check_position_mode(context: Context) -> Row:
    """One-way: a stop without reduce-only would open a short in hedge mode."""
    if context.account.dual_side_position:
        advice = "close everything and switch the account to one-way mode (preferences, position mode)"
        return failed("position mode", "the account is in hedge mode", advice)
    if context.account.multi_assets_margin:
        advice = "switch to single-asset mode, or know that other assets stand in for losses"
        return warned("position mode", "one-way, but multi-assets margin is on", advice)
    return ok("position mode", "one-way")


def check_margin_type(context: Context) -> Row:
    """Every symbol's margin type, set where that is allowed."""
    wanted = context.tolerances.margin_type
    wrong = [s for s in context.symbols if context.settings[s].margin_type != wanted]
    if wrong and context.setup.apply:
        for symbol in wrong:
            context.client.set_margin_type(symbol, wanted)
        context.reread_settings()
        wrong = [s for s in context.symbols if context.settings[s].margin_type != wanted]
    if wrong:
        found = ", ".join(f"{s} {context.settings[s].margin_type}" for s in wrong)
        advice = f"set {wanted} at the venue (flat and without orders), or let --apply do it"
        return failed("margin type", found, advice)
    if wanted == "ISOLATED" and (beyond := _beyond_liquidation(context)):
        advice = "lower stop.max_pct (stop.pct where the stop is a percentage) or venue.leverage"
        return failed("margin type", beyond, advice)
    return ok("margin type", f"{wanted} for {', '.join(context.symbols)}")


def _beyond_liquidation(context: Context) -> str:
    """Which stops may lie where an isolated position is gone already; "" when none may.

    Its own margin is 1 / leverage of it, and it is gone when that has fallen to the maintenance margin: about
    1 % at most for what is much traded, and half of the margin at the venue's highest leverage. Of the way
    there the run keeps `liquidation_buffer_pct`. Crossed positions have the account behind them, of which a
    stop costs what the sizing risks.
    """
    run = context.run
    margin = 100.0 / run.venue.leverage
    room = (margin - min(1.0, margin / 2.0)) * (1.0 - run.risk.liquidation_buffer_pct / 100.0)
    stops = {s.label: s.stop.pct if s.stop.method == "percent" else s.stop.max_pct for s in run.strategies}
    told = [f"{label}'s stop may be {pct:g} % away" for label, pct in stops.items() if pct > room]
    if not told:
        return ""
    return f"{', '.join(told)}; at a leverage of {run.venue.leverage:g} no more than {room:.3g} % is safe"


def check_leverage(context: Context) -> Row:
    """Every symbol's leverage is the run's, set where that is allowed."""
    wanted = context.run.venue.leverage
    if wanted != int(wanted):
        advice = "the venue takes whole numbers: change venue.leverage in the run file"
        return failed("leverage", f"venue.leverage is {wanted:g}", advice)
    wrong = [s for s in context.symbols if context.settings[s].leverage != wanted]
    if wrong and context.setup.apply:
        for symbol in wrong:
            context.client.set_leverage(symbol, int(wanted))
        context.reread_settings()
        wrong = [s for s in context.symbols if context.settings[s].leverage != wanted]
    if wrong:
        found = ", ".join(f"{s} has {context.settings[s].leverage}" for s in wrong)
        advice = f"set {wanted:g} at the venue, or let --apply do it, or change venue.leverage"
        return failed("leverage", f"{found}, the run wants {wanted:g}", advice)
    return ok("leverage", f"{wanted:g} for {', '.join(context.symbols)}")


def check_open(context: Context) -> Row:
    """Positions and orders are those of this program, or are adopted."""
    orders: list[OpenOrder | AlgoOrder] = [*context.orders, *context.algo_orders]
    strange = [text for p in context.positions if (text := stranger(context, p))]
    strange += [_order_text(o) for o in orders if not is_known(context, o)]
    naked = [p.symbol for p in context.positions if not cover_of(p, context.algo_orders).is_whole]
    found = f"{len(context.positions)} positions, {len(orders)} orders"
    if naked:
        found += f"; no stop covers {', '.join(naked)}"
    ragged = [_position_text(p) for p in context.positions if _is_ragged(context, p)]
    if ragged:
        found += f"; no multiple of the venue's step: {', '.join(ragged)}"
    if not strange:
        advice = _RAGGED_ADVICE if ragged else "the node places the stops as it starts"
        return warned("open", found, advice) if naked or ragged else ok("open", found)
    told = "; ".join(strange[:4]) + (f" and {len(strange) - 4} more" if len(strange) > 4 else "")
    found = f"{found}; not this program's: {told}"
    if context.setup.adopt:
        others = sorted({p.symbol for p in context.positions} - set(context.symbols))
        advice = "they are taken over: a position without a plan of this node's is covered, then closed"
        advice += f"; {', '.join(others)} is left alone" if others else ""
        return warned("open", found, advice)
    return failed("open", found, _STRANGE_ADVICE)


def _is_ragged(context: Context, position: Position) -> bool:
    """Whether orders in whole steps cannot close it: the venue has made its step coarser since."""
    rules = context.info.symbols.get(position.symbol)
    return rules is not None and rules.step > 0 and position.amount % rules.step != 0


def _position_text(position: Position) -> str:
    return f"{position.symbol} position {position.amount:f}"


def _order_text(order: OpenOrder | AlgoOrder) -> str:
    kind = order.type if isinstance(order, OpenOrder) else order.order_type
    name = order.client_order_id if isinstance(order, OpenOrder) else order.client_algo_id
    return f"{order.symbol} {order.side} {kind} {name}"
