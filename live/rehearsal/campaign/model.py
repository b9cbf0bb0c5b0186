"""The model of a campaign's nodes: a small bundle for each symbol, trained once on a seeded market.

What it forecasts is worth nothing; that it says the same live, after any kill and whatever was lost, as
offline on the same bars is what is played for.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from actors.forecaster import forecast_bars
from catalog.columns import MINUTE_NS, BarColumns
from configs.errors import RunFailedError
from configs.schema import ModelConfig
from live.history import closed_bars
from live.rehearsal import book
from live.rehearsal.campaign.generate import MODEL
from live.rehearsal.campaign.scenario import Scenario
from live.venue.answers import Kline
from models.predictor import Predictor
from models.train import train_model

__all__ = ["HISTORY_MINUTES", "bundle_of", "make_models", "offline_forecasts", "with_bundle"]

HISTORY_MINUTES = 10_800  # no fewer than a node asks for
SYMBOLS = ("BTCUSDT", "ETHUSDT")
_CONFIG = ModelConfig.model_validate(
    {
        **MODEL,
        "split": {"embargo_bars": 6},
        "trees": {"n_estimators": 5, "max_depth": 2, "min_child_weight": 2},
    }
)
_BARS = 6_000
_BEGIN_NS = 1_704_067_200_000_000_000
_SEED = 1


def make_models(folder: Path, apart: Callable[[Callable[[], int]], int]) -> None:
    """Train what is not there yet; `apart` runs it in a process of its own and returns how that ended.

    Training starts threads, which the processes that nodes are forked from must not have.
    """
    if any(not bundle_of(folder, symbol).exists() for symbol in SYMBOLS) and apart(lambda: _train(folder)):
        raise RunFailedError("the campaign's models could not be trained; the reason is above")


def _train(folder: Path) -> int:
    for symbol in SYMBOLS:
        made = train_model(
            _market(),
            instrument=f"{symbol}-PERP.BINANCE",
            config=_CONFIG,
            bar_minutes=1,
            seed=_SEED,
            data_hash=symbol,
            root=folder / "made",
            threads=1,
        )
        bundle_of(folder, symbol).symlink_to(made.resolve(), target_is_directory=True)
    return 0


def bundle_of(folder: Path, symbol: str) -> Path:
    """Where the bundle of a symbol is found."""
    return folder.resolve() / symbol


def with_bundle(run: Mapping[str, Any], folder: Path, symbol: str) -> dict[str, Any]:
    """A run file whose model is the bundle of a symbol."""
    bundle = str(bundle_of(folder, symbol).resolve())
    return {**run, "models": [model | {"bundle": bundle} for model in run["models"]]}


def offline_forecasts(
    scenario: Scenario, folder: Path, klines: Mapping[str, Sequence[book.Kline]]
) -> dict[str, dict[int, float]]:
    """What the model says of all closed minutes that a venue has: by symbol, by the bar's close (ns UTC).

    They are the venue's own records: over REST the minute's request weight may be used up by the nodes.
    """
    found = {}
    for symbol in scenario.symbols:
        closed = [_told(kline) for kline in klines[symbol] if kline.closed]
        bars = closed_bars(closed[-2 * HISTORY_MINUTES :], "1m")
        forecasts = forecast_bars(Predictor.load(bundle_of(folder, symbol).resolve()), bars)
        found[symbol] = dict(zip(bars.ts_event.tolist(), forecasts.tolist(), strict=True))
    return found


def _told(kline: book.Kline) -> Kline:
    """As the venue tells it."""
    return Kline(kline.open_ms, kline.open, kline.high, kline.low, kline.close, kline.volume, kline.close_ms)


def _market() -> BarColumns:
    """A price that is pulled back to where it began, so that there is something to learn."""
    rng = np.random.default_rng(_SEED)
    log_price, level = np.empty(_BARS), 0.0
    for row, shock in enumerate(rng.normal(0.0, 2e-3, _BARS)):
        level = 0.95 * level + float(shock)
        log_price[row] = level
    close = np.round(60_000.0 * np.exp(log_price), 1)
    opens = np.concatenate(([60_000.0], close[:-1]))
    reach = rng.uniform(0.0, 1e-3, (2, _BARS))
    return BarColumns(
        _BEGIN_NS + MINUTE_NS * np.arange(1, _BARS + 1, dtype=np.int64),
        opens,
        np.round(np.maximum(opens, close) * (1.0 + reach[0]), 1),
        np.round(np.minimum(opens, close) * (1.0 - reach[1]), 1),
        close,
        np.round(rng.gamma(2.0, 5.0, _BARS), 3),
    )
