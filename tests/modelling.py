"""Small markets and quick model settings for the tests of models."""

import numpy as np

from catalog.columns import BarColumns
from configs.schema import LabelConfig, ModelConfig, SplitConfig, TreesConfig

__all__ = ["BAR_MINUTES", "INSTRUMENT", "QUICK", "SMALL", "market"]

INSTRUMENT = "BTCUSDT-PERP.BINANCE"
BAR_MINUTES = 5
QUICK = ModelConfig(
    label=LabelConfig(horizon_bars=6, take_profit_pct=0.3, stop_loss_pct=0.3, cost_bps=2),
    split=SplitConfig(embargo_bars=6),
    trees=TreesConfig(n_estimators=30, max_depth=3, learning_rate=0.1, min_child_weight=5),
)
SMALL = QUICK.model_copy(update={"trees": TreesConfig(n_estimators=5, max_depth=2, min_child_weight=2)})


def market(n: int, *, seed: int = 1, reversion: float = 0.0) -> BarColumns:
    """Five-minute bars; `reversion` pulls the price back to its start, which gives something to learn."""
    rng = np.random.default_rng(seed)
    shocks = rng.normal(0.0, 2e-3, n)
    log_price = np.empty(n)
    level = 0.0
    for i, shock in enumerate(shocks):
        level = (1.0 - reversion) * level + shock
        log_price[i] = level
    close = np.round(60_000 * np.exp(log_price), 1)
    open_ = np.r_[60_000.0, close[:-1]]
    high = np.round(np.maximum(open_, close) * (1 + rng.uniform(0, 1e-3, n)), 1)
    low = np.round(np.minimum(open_, close) * (1 - rng.uniform(0, 1e-3, n)), 1)
    first = 1_704_067_200_000_000_000
    ts_event = first + BAR_MINUTES * 60_000_000_000 * np.arange(1, n + 1, dtype=np.int64)
    return BarColumns(ts_event, open_, high, low, close, np.round(rng.gamma(2.0, 5.0, n), 3))
