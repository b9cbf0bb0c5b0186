"""How far from the entry the protective stop stands: fixed, or taken from the market. Pure."""

import math
from collections.abc import Mapping

from configs.trading import StopConfig, TrailingConfig
from strategies.values import Inputs

__all__ = ["stop_distance", "stop_inputs"]

_ATR = "atr_pct_14"
_VOLATILITY = "realized_volatility_20"
_SWINGS = {1: "swing_low_20", -1: "swing_high_20"}


def stop_inputs(stop: StopConfig, trailing: TrailingConfig | None) -> Inputs:
    """The features that the stop and the trail need at every bar; none for fixed percentages."""
    by_method: dict[str, tuple[str, ...]] = {
        "percent": (),
        "atr": (_ATR,),
        "structure": (_SWINGS[1], _SWINGS[-1]),
        "volatility": (_VOLATILITY,),
    }
    trail = (_ATR,) if trailing is not None and trailing.distance_atr is not None else ()
    return Inputs(by_method[stop.method]) | Inputs(trail)


def stop_distance(config: StopConfig, side: int, features: Mapping[str, float], scale: float = 1.0) -> float:
    """Distance of the stop from an entry at the close, as a fraction of it; `side` is +1 or -1.

    `scale` stretches it, as an intent may ask.

    `features` are those of the bar at whose close is entered (causal: they know no later bar). A distance
    that the market gives is kept within [min_pct, max_pct], stretched or not; `percent` is taken as it is.
    NaN when a feature that it needs is NaN or missing: no stop, no entry.
    """
    if config.method == "percent":
        return config.pct / 100.0 * scale
    distance = _market_distance(config, side, features) * scale
    if math.isnan(distance):
        return math.nan
    return min(max(distance, config.min_pct / 100.0), config.max_pct / 100.0)


def _market_distance(config: StopConfig, side: int, features: Mapping[str, float]) -> float:
    if config.method == "atr":
        return config.atr_multiple * _finite(features, _ATR) / 100.0
    if config.method == "volatility":
        return config.volatility_multiple * _finite(features, _VOLATILITY) * math.sqrt(config.volatility_bars)
    swing = _finite(features, _SWINGS[side])
    buffer = config.buffer_pct / 100.0
    if side > 0:  # close / low - 1: the stop is low x (1 - buffer)
        return 1.0 - (1.0 - buffer) / (1.0 + swing)
    return (1.0 + swing) * (1.0 + buffer) - 1.0


def _finite(features: Mapping[str, float], name: str) -> float:
    value = features.get(name, math.nan)
    return value if math.isfinite(value) else math.nan
