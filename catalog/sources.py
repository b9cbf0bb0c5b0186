"""Which series a data file holds: told by the options, by its path, and where needed by its first bytes.

Recognised paths: freqtrade (`BTC_USDT_USDT-1m-futures.feather`, `-8h-mark`, `-8h-funding_rate`, spot
`XRP_ETH-1m.feather`), Binance archive (`um/monthly/markPriceKlines/BTCUSDT/1m/BTCUSDT-1m-2024-01.zip`,
`BTCUSDT-fundingRate-2024-01.csv`) and saved REST answers (`BTCUSDT/15m/2024-01-01.json`, `BTCUSDT-15m.json`).
A Fear & Greed CSV is told by its header `date,fng`.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from catalog.columns import interval_ns
from catalog.instruments import instrument_name
from catalog.parse import Kind, csv_kind
from catalog.sentiment import FEAR_GREED, is_sentiment_csv
from configs.errors import DataError

__all__ = ["FileFormat", "Hints", "SeriesKey", "Source", "find_sources"]

FileFormat = Literal["vision", "rest", "freqtrade"]
_SUFFIXES: dict[str, FileFormat] = {
    ".csv": "vision",
    ".zip": "vision",
    ".json": "rest",
    ".feather": "freqtrade",
}
_FREQTRADE = re.compile(
    r"(?P<base>[A-Z0-9]+)_(?P<quote>[A-Z0-9]+)(?P<settle>_[A-Z0-9]+)?-(?P<interval>\d+[a-zA-Z])"
    r"(-(?P<what>futures|mark|funding_rate|spot))?"
)
_NAMED = re.compile(r"(?P<symbol>[A-Z0-9]{4,20})[-_](?P<interval>fundingRate|\d+[a-zA-Z])(?![A-Za-z0-9])")
_SYMBOL = re.compile(r"[A-Z0-9]{4,20}")
_INTERVAL = re.compile(r"\d+[mhdwM]")
_MARKETS = {"um": "um", "futures": "um", "usdm": "um", "binanceusdm": "um", "spot": "spot"}
_KINDS: dict[str, Kind] = {"markPriceKlines": "mark", "mark": "mark", "fundingRate": "funding"}
_NOT_STORED = {
    *("aggTrades", "trades", "indexPriceKlines", "premiumIndexKlines", "metrics", "bookDepth", "bookTicker"),
    *("liquidationSnapshot", "cm", "option"),
}
_JSON_SYMBOL = re.compile(rb'"symbol"\s*:\s*"([A-Z0-9]{4,20})"')


@dataclass(frozen=True, slots=True)
class Hints:
    """What the user says about the files; None leaves it to the path."""

    symbol: str | None = None
    market: str | None = None
    interval: str | None = None
    kind: Kind | None = None


@dataclass(frozen=True, slots=True)
class SeriesKey:
    """One series: funding and sentiment have no interval, sentiment has no market."""

    symbol: str
    market: str
    kind: Kind
    interval: str | None

    @property
    def instrument_id(self) -> str:
        """Nautilus's id of the instrument; a sentiment series' own name."""
        if self.kind == "sentiment":
            return self.symbol
        return instrument_name(self.symbol, self.market)

    @property
    def label(self) -> str:
        """The series in words, for messages."""
        return " ".join(filter(None, (self.instrument_id, self.interval, self.kind)))


@dataclass(frozen=True, slots=True)
class Source:
    """A file and the series it belongs to."""

    path: Path
    format: FileFormat
    key: SeriesKey


def find_sources(
    paths: Iterable[str | Path],
    file_format: str,
    hints: Hints,
    skip: Callable[[DataError], None] | None = None,
) -> list[Source]:
    """The data files named by files, folders (searched whole) and patterns, each once, with their series.

    DataError when a path is not there, holds no data file, or when a file's series cannot be told; `skip`
    hears of the latter instead.
    """
    if file_format not in {"auto", *_SUFFIXES.values()}:
        raise DataError(f"unknown format '{file_format}'; use auto, vision, rest or freqtrade")
    files = dict.fromkeys(path for given in paths for path in _expand(given, file_format))
    sources = []
    for path in files:
        try:
            sources.append(_identify(path, file_format, hints))
        except DataError as error:
            if skip is None:
                raise
            skip(error)
    return sources


def _expand(given: str | Path, file_format: str) -> Iterator[Path]:
    path = Path(given)
    if path.is_dir():
        suffixes = {suffix for suffix, name in _SUFFIXES.items() if file_format in {"auto", name}}
        found = sorted(file for file in path.rglob("*") if file.suffix.lower() in suffixes and file.is_file())
    elif path.exists():
        found = [path]
    else:
        found = sorted(Path(path.anchor or ".").glob(str(path.relative_to(path.anchor))))
    if not found:
        what = "has no data files (.csv .zip .json .feather)" if path.is_dir() else "is not there"
        raise DataError(f"{given} {what}")
    yield from found


def _identify(path: Path, file_format: str, hints: Hints) -> Source:
    chosen = _SUFFIXES.get(path.suffix.lower())
    if file_format != "auto":
        chosen = next(name for name in _SUFFIXES.values() if name == file_format)
    if chosen is None:
        raise DataError(f"{path}: unknown kind of file; give .csv, .zip, .json or .feather, or --format")
    if _is_sentiment(path, chosen, hints):
        return Source(path, chosen, SeriesKey(FEAR_GREED, "", "sentiment", None))
    key = _freqtrade_key(path, hints) if chosen == "freqtrade" else _binance_key(path, chosen, hints)
    if key.kind != "funding":
        interval_ns(key.interval or "")
    return Source(path, chosen, key)


def _is_sentiment(path: Path, chosen: FileFormat, hints: Hints) -> bool:
    """By the option, else by the header, which no other file has."""
    is_csv = path.suffix.lower() == ".csv" and chosen == "vision"
    if hints.kind == "sentiment" and not is_csv:
        raise DataError(f"{path}: a sentiment series is read from a .csv file with the columns date,fng")
    return is_csv and (hints.kind == "sentiment" or (hints.kind is None and is_sentiment_csv(path)))


def _freqtrade_key(path: Path, hints: Hints) -> SeriesKey:
    match = _FREQTRADE.fullmatch(path.stem)
    if match is None and None in (hints.symbol, hints.market):
        raise DataError(f"{path}: not named as freqtrade names files; give --symbol, --market and --interval")
    found = match.groupdict() if match else {}
    kinds: dict[str | None, Kind] = {"mark": "mark", "funding_rate": "funding"}
    kind = hints.kind or kinds.get(found.get("what"), "klines")
    symbol = hints.symbol or f"{found['base']}{found['quote']}"
    market = hints.market or ("um" if found["settle"] else "spot")
    return SeriesKey(symbol, market, kind, _interval(path, kind, hints.interval or found.get("interval")))


def _binance_key(path: Path, file_format: FileFormat, hints: Hints) -> SeriesKey:
    refused = _NOT_STORED & {*path.parts, *path.stem.split("-")}
    if refused:
        raise DataError(f"{path} holds {min(refused)}; klines, markPriceKlines and fundingRate are stored")
    match = _NAMED.match(path.stem)
    folders = path.parts[:-1]
    interval = match["interval"] if match else next(filter(_INTERVAL.fullmatch, reversed(folders)), None)
    kind = hints.kind or _kind(path, file_format, interval)
    symbol = hints.symbol or (match["symbol"] if match else _symbol_above(folders, interval))
    if symbol is None and file_format == "rest" and kind == "funding":
        found = _JSON_SYMBOL.search(path.read_bytes()[:4096])
        symbol = found[1].decode() if found else None
    if symbol is None:
        raise DataError(f"{path}: the symbol is not in the path; give it with --symbol")
    market = hints.market or _market(folders)
    if market is None:
        raise DataError(f"{path}: the path does not say which market; give --market um or --market spot")
    return SeriesKey(symbol, market, kind, _interval(path, kind, hints.interval or interval))


def _kind(path: Path, file_format: FileFormat, interval: str | None) -> Kind:
    named = next((_KINDS[part] for part in (*path.parts, interval) if part in _KINDS), None)
    if named is not None:
        return named
    if file_format == "vision":
        return csv_kind(path) or "klines"
    with path.open("rb") as file:
        return "funding" if re.match(rb"\s*\[\s*\{", file.read(256)) else "klines"


def _symbol_above(folders: tuple[str, ...], interval: str | None) -> str | None:
    """The folder above the interval's, as in BTCUSDT/15m/file.json."""
    if interval not in folders:
        return None
    above = folders[: folders.index(interval)][-1:]
    return above[0] if above and _SYMBOL.fullmatch(above[0]) else None


def _market(folders: tuple[str, ...]) -> str | None:
    """The market the nearest folder speaks of, as in klines_spot/ or futures/um/."""
    for folder in reversed(folders):
        found = {_MARKETS[word] for word in re.split(r"[^a-z]+", folder.lower()) if word in _MARKETS}
        if len(found) == 1:
            return found.pop()
    return None


def _interval(path: Path, kind: Kind, interval: str | None) -> str | None:
    if kind == "funding":
        return None
    if interval is None:
        raise DataError(f"{path}: the bars' interval is not in the path; give it with --interval")
    return interval
