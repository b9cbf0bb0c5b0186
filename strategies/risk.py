"""From a wish to a size, or to a refusal with its numbers. Pure: plain values in, plain values out."""

import math

from strategies.values import Account, Approved, InstrumentRules, Intent, Limits, Refused

__all__ = ["assess", "floor_to_step"]


def floor_to_step(quantity: float, step_size: float) -> float:
    """The largest multiple of `step_size` not above `quantity`, free of binary dust.

    A quantity within binary noise of a multiple counts as that multiple, so that 0.3 / 0.1 is 3 steps.
    """
    ratio = quantity / step_size
    steps = math.floor(ratio + 1e-9 + 1e-15 * ratio)
    digits = max(0, -math.floor(math.log10(step_size) + 1e-9))
    return round(steps * step_size, digits + 2)


def assess(
    intent: Intent,
    *,
    price: float,
    stop_distance: float,
    target_distance: float | None,
    account: Account,
    limits: Limits,
    rules: InstrumentRules,
) -> Approved | Refused:
    """Size an intent at `price` and hold it against every limit.

    The wanted size comes from the distance to the stop (what is lost there, costs included, is the risk per
    trade) or from a fraction of equity, times the confidence; then the tightest cap counts, and the result is
    rounded down to the lot. A size under the venue's minimum is refused, never bumped up.
    """
    stop_distance = stop_distance if intent.stop_distance is None else intent.stop_distance
    target_distance = target_distance if intent.target_distance is None else intent.target_distance
    refusal = _refuse_inputs(intent, price, stop_distance, target_distance, account, rules)
    if refusal is not None:
        return refusal
    loss_per_unit = price * (stop_distance + limits.entry_cost + limits.exit_cost)
    caps = _caps(intent, price, loss_per_unit, account, limits, rules)
    bound_by, capped = min(caps.items(), key=lambda item: item[1])
    quantity = floor_to_step(max(capped, 0.0), rules.step_size)
    if quantity < rules.min_quantity or quantity <= 0.0:
        return Refused("min_quantity", rules.min_quantity, capped)
    if quantity * price < rules.min_notional:
        return Refused("min_notional", rules.min_notional, quantity * price)
    return Approved(
        side=intent.side,
        quantity=quantity,
        stop_distance=stop_distance,
        target_distance=target_distance,
        confidence=intent.confidence,
        risk_amount=quantity * loss_per_unit,
        bound_by=bound_by,
    )


def _refuse_inputs(
    intent: Intent,
    price: float,
    stop_distance: float,
    target_distance: float | None,
    account: Account,
    rules: InstrumentRules,
) -> Refused | None:
    """Values that cannot be traded on; conditions are written so that NaN fails them."""
    stop = stop_distance * price
    checks = [
        (intent.side in (1, -1), Refused("side", 1.0, float(intent.side))),
        (0.0 < price < math.inf, Refused("price", 0.0, price)),
        (0.0 <= intent.confidence <= 1.0, Refused("confidence", 1.0, intent.confidence)),
        (0.0 < account.equity < math.inf, Refused("equity", 0.0, account.equity)),
        (stop >= rules.tick_size, Refused("stop_distance", rules.tick_size, stop)),
        (stop_distance < 1.0, Refused("stop_distance", 1.0, stop_distance)),
    ]
    if target_distance is not None:
        target = target_distance * price
        reachable = intent.side > 0 or target_distance < 1.0
        checks += [
            (target >= rules.tick_size, Refused("target_distance", rules.tick_size, target)),
            (reachable, Refused("target_distance", 1.0, target_distance)),
        ]
    return next((refusal for fine, refusal in checks if not fine), None)


def _caps(
    intent: Intent,
    price: float,
    loss_per_unit: float,
    account: Account,
    limits: Limits,
    rules: InstrumentRules,
) -> dict[str, float]:
    """Every bound on the quantity in base units, by name, the wanted size first."""
    if limits.method == "risk":
        wanted = account.equity * limits.risk_per_trade / loss_per_unit
    else:
        wanted = account.equity * limits.fraction / price
    if limits.confidence_weighted:
        wanted *= intent.confidence
    leverage = account.leverage
    usable_margin = account.free_margin - limits.liquidation_buffer * account.equity
    caps = {
        limits.method: wanted,
        "max_position": account.equity * limits.max_position / price,
        "max_leverage": (account.equity * min(leverage, limits.max_leverage) - account.notional) / price,
        "free_margin": usable_margin * leverage / (price * (1.0 + limits.entry_cost * leverage)),
        "max_quantity": rules.max_quantity,
    }
    if limits.max_notional is not None:
        caps["max_notional"] = (limits.max_notional - account.notional) / price
    return caps
