"""Seeded synthetic markets: what the demo and the tests trade where no real data is at hand.

`make_market` turns the minute process of `catalog.simulation` into bars on an instrument's grid with
funding rates; `ensure_synthetic` keeps a run's whole synthetic catalog in step with its configuration and
never touches a catalog that it did not make itself.
"""

import hashlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from nautilus_trader.model import CryptoPerpetual, CurrencyPair
from numpy.typing import NDArray

from catalog.columns import MINUTE_NS, BarColumns, FundingColumns, Grid, utc_ns
from catalog.instruments import build_instrument, market_of, shipped_specs, symbol_of
from catalog.simulation import MinutePath, simulate_minutes
from catalog.store import Catalog, grids
from configs.errors import ConfigError, DataError
from configs.schema import RunConfig, SyntheticConfig

__all__ = ["MARKER_NAME", "SyntheticMarket", "ensure_synthetic", "make_market"]

MARKER_NAME = "synthetic.json"
GENERATOR = 1  # raise it when the same settings no longer give the same market
FUNDING_NS = 480 * MINUTE_NS
FUNDING_CAP = 0.0075
FUNDING_BASE = 0.0001
_EXACT_UNITS = 2.0**52
_STALE_SECS = 3600


@dataclass(frozen=True, slots=True)
class SyntheticMarket:
    """Bars and funding of one instrument, and what lies behind them.

    score, turbulent and trending have one entry per bar and hold at its close: score is the planted signal
    (it acts on the following bars when the strength is not zero), turbulent and trending are the two
    regimes.
    """

    bars: BarColumns
    funding: FundingColumns
    score: NDArray[np.float64]
    turbulent: NDArray[np.bool_]
    trending: NDArray[np.bool_]


def make_market(
    config: SyntheticConfig, *, start_ns: int, bar_minutes: int, tick: float, step: float
) -> SyntheticMarket:
    """Simulate `config.days` days from `start_ns` (ns UTC, a bar's open) as bars of `bar_minutes`.

    Prices are multiples of `tick`, volumes (base currency, never zero) of `step`; each open is the close
    before. The same arguments give the same bits; the same seed gives the same market whatever
    `bar_minutes`. Funding settles at 00, 08 and 16 UTC inside [start, end) and depends on earlier closes
    only. Raises ConfigError when the start is not a bar's open or the price leaves what the grid can
    represent.
    """
    bar_ns = bar_minutes * MINUTE_NS
    if start_ns % bar_ns:
        raise ConfigError(
            f"data.start must be the open of a {bar_minutes}-minute bar to begin a synthetic market"
        )
    rng = np.random.Generator(np.random.PCG64(config.seed))
    path = simulate_minutes(
        rng,
        first_minute=start_ns // MINUTE_NS,
        n_minutes=config.days * 1440,
        annual_volatility=config.annual_volatility,
        signal_strength=config.signal_strength,
    )
    last = slice(bar_minutes - 1, None, bar_minutes)
    return SyntheticMarket(
        bars=_bars(
            path,
            config.start_price,
            _grid(tick),
            _grid(step),
            start_ns=start_ns,
            bar_minutes=bar_minutes,
        ),
        funding=_funding(rng, path.close, start_ns, config.annual_volatility),
        score=path.score[last],
        turbulent=path.turbulent[last],
        trending=path.trending[last],
    )


def ensure_synthetic(run: RunConfig) -> bool:
    """Make the run's synthetic catalog unless it is there already; True when it was made.

    Nothing happens without `data.synthetic`. Each instrument's market has its own seed, derived from the
    configured one and the instrument's name. A catalog made earlier from other settings is replaced as a
    whole; a catalog with anything in it that this function did not write is refused with DataError. The
    catalog appears complete or not at all. ConfigError: `data.synthetic.days` does not cover the period, or
    an instrument is not in the shipped table.
    """
    config = run.data.synthetic
    if config is None:
        return False
    if run.data.end - run.data.start > timedelta(days=config.days):
        raise ConfigError(
            f"data.synthetic.days is {config.days}, shorter than the period {run.data.start:%Y-%m-%d %H:%M} "
            f"to {run.data.end:%Y-%m-%d %H:%M}; raise it or shorten the period"
        )
    catalog = run.data.catalog
    made = _read_marker(catalog)
    wanted = _Marker(
        generator=GENERATOR,
        config=config.model_dump(mode="json"),
        start=run.data.start,
        markets=[(name, run.data.bar, run.data.bar_minutes) for name in run.instruments],
    )
    if made is not None and _covers(made, wanted, run) and _files(catalog) == made.files:
        return False
    _refuse_foreign(catalog, made)
    if made is not None and made.same_market(wanted) and made.start == wanted.start:
        wanted.markets = sorted({*made.markets, *wanted.markets})
    with _replacing(catalog) as temporary:
        _build(temporary, config, wanted)
    return True


class _Marker(msgspec.Struct, kw_only=True):
    """What a synthetic catalog was made from, and the sha256 of each of its files."""

    generator: int
    config: dict[str, Any]
    start: Annotated[datetime, msgspec.Meta(tz=True)]
    markets: list[tuple[str, str, int]]  # instrument, interval, its minutes
    files: dict[str, str] = {}

    def same_market(self, other: "_Marker") -> bool:
        return (self.generator, self.config) == (other.generator, other.config)


def _covers(made: _Marker, wanted: _Marker, run: RunConfig) -> bool:
    end = made.start + timedelta(days=wanted.config["days"])
    inside = made.start <= run.data.start and run.data.end <= end
    return made.same_market(wanted) and inside and set(wanted.markets) <= set(made.markets)


def _build(folder: Path, config: SyntheticConfig, marker: _Marker) -> None:
    catalog = Catalog.create(folder)
    start_ns = utc_ns(marker.start)
    known = set()
    for instrument_id, interval, bar_minutes in marker.markets:
        instrument = _instrument(instrument_id)
        price_grid, size_grid = grids(instrument)
        market = make_market(
            config.model_copy(update={"seed": _seed(config.seed, instrument_id)}),
            start_ns=start_ns,
            bar_minutes=bar_minutes,
            tick=float(price_grid.step),
            step=float(size_grid.step),
        )
        if instrument_id not in known:
            catalog.write_instrument(instrument)
            if market_of(instrument_id) == "um" and len(market.funding):
                catalog.write_funding(instrument_id, market.funding)
        known.add(instrument_id)
        catalog.write_bars(instrument_id, interval, market.bars)
    marker.files = _files(folder)
    (folder / MARKER_NAME).write_bytes(msgspec.json.format(msgspec.json.encode(marker)) + b"\n")


def _seed(seed: int, instrument_id: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}|{instrument_id}".encode()).digest()[:4]) >> 1


def _instrument(instrument_id: str) -> CryptoPerpetual | CurrencyPair:
    symbol, specs = symbol_of(instrument_id), shipped_specs(market_of(instrument_id))
    if symbol not in specs:
        raise ConfigError(
            f"no shipped filters for {instrument_id}, so no synthetic market can be made; "
            f"known: {', '.join(sorted(specs))}"
        )
    return build_instrument(specs[symbol])


def _read_marker(catalog: Path) -> _Marker | None:
    path = catalog / MARKER_NAME
    if not path.is_file():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Marker)
    except msgspec.DecodeError as error:
        raise DataError(
            f"{path} is damaged ({error}); delete the catalog folder or name another data.catalog"
        ) from error


def _refuse_foreign(catalog: Path, made: _Marker | None) -> None:
    if catalog.exists() and not catalog.is_dir():
        raise DataError(f"{catalog} is a file; data.catalog must name a folder")
    expected = {} if made is None else made.files
    foreign = [name for name, digest in _files(catalog).items() if expected.get(name) != digest]
    if foreign:
        raise DataError(
            f"{catalog} holds data that the synthetic market did not make ({foreign[0]}); name another "
            f"data.catalog, or set data.synthetic to null to use what is there"
        )


def _files(catalog: Path) -> dict[str, str]:
    """Relative name -> sha256 of every file of the catalog but the marker and what begins with a dot."""
    paths = (path for path in sorted(catalog.rglob("*")) if path.is_file())
    return {
        path.relative_to(catalog).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
        if path.name != MARKER_NAME and not path.name.startswith(".")
    }


@contextmanager
def _replacing(catalog: Path) -> Iterator[Path]:
    """A temporary folder that takes the catalog's place if the block succeeds and vanishes if it fails."""
    catalog.parent.mkdir(parents=True, exist_ok=True)
    for left in catalog.parent.glob(f".{catalog.name}.*.making"):  # by a process that was killed
        if time.time() - left.stat().st_mtime > _STALE_SECS:
            shutil.rmtree(left, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=f".{catalog.name}.", suffix=".making", dir=catalog.parent))
    try:
        fresh = work / "new"
        yield fresh
        if _read_marker(catalog) == _read_marker(fresh) and _files(catalog) == _files(fresh):
            return  # another process was faster and made the same
        if catalog.exists():
            catalog.rename(work / "old")
        fresh.rename(catalog)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _grid(step: float) -> Grid:
    return Grid.of(Decimal(str(step)))


def _bars(
    path: MinutePath,
    start_price: float,
    price_grid: Grid,
    size_grid: Grid,
    *,
    start_ns: int,
    bar_minutes: int,
) -> BarColumns:
    bars = len(path.close) // bar_minutes
    shape = (bars, bar_minutes)
    start = _units(path.open.reshape(shape)[:, 0], start_price, price_grid)
    close = _units(path.close.reshape(shape)[:, -1], start_price, price_grid)
    high = _units(path.high.reshape(shape).max(axis=1), start_price, price_grid)
    low = _units(path.low.reshape(shape).min(axis=1), start_price, price_grid)
    size = (path.turnover / (start_price * np.exp(path.close))).reshape(shape).sum(axis=1)
    steps = np.maximum(np.rint(size / float(size_grid.step)), 1.0) * size_grid.units
    bar_ns = bar_minutes * MINUTE_NS
    scale = 10.0**price_grid.precision
    return BarColumns(
        ts_event=start_ns + bar_ns * np.arange(1, bars + 1, dtype=np.int64),
        open=start / scale,
        high=np.maximum(high, np.maximum(start, close)) / scale,
        low=np.minimum(low, np.minimum(start, close)) / scale,
        close=close / scale,
        volume=steps / 10.0**size_grid.precision,
    )


def _units(log_price: NDArray[np.float64], start_price: float, grid: Grid) -> NDArray[np.float64]:
    """Prices as whole multiples of the tick, counted in units of the last decimal (exact in float64)."""
    with np.errstate(over="ignore"):
        ticks = np.rint(start_price * np.exp(log_price) / float(grid.step))
    if not (ticks.min() >= 1 and ticks.max() * grid.units < _EXACT_UNITS):
        raise ConfigError(
            f"the synthetic price leaves what ticks of {grid.step} can represent; use another "
            f"data.synthetic.start_price or a lower annual_volatility"
        )
    units: NDArray[np.float64] = ticks * grid.units
    return units


def _funding(
    rng: np.random.Generator, close: NDArray[np.float64], start_ns: int, annual_volatility: float
) -> FundingColumns:
    """Binance's rule on a premium that follows the last day's move.

    rate = premium + clip(0.01 % - premium, -0.05 %, 0.05 %), within 0.75 % either way.
    """
    end_ns = start_ns + len(close) * MINUTE_NS
    times = np.arange(-(-start_ns // FUNDING_NS) * FUNDING_NS, end_ns, FUNDING_NS, dtype=np.int64)
    done = (times - start_ns) // MINUTE_NS  # minutes closed by then
    log_price = np.concatenate((np.zeros(1), close))
    move = log_price[done] - log_price[np.maximum(done - 1440, 0)]
    trend = np.clip(move / (annual_volatility / np.sqrt(365.0)), -6.0, 6.0)
    premium = 0.0004 * trend + 0.0001 * rng.standard_normal(len(times))
    rate = premium + np.clip(FUNDING_BASE - premium, -0.0005, 0.0005)
    return FundingColumns(times, np.round(np.clip(rate, -FUNDING_CAP, FUNDING_CAP), 8))
