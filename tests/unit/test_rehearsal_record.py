"""What the rehearsal venue remembers of its market, and tells over REST."""

from decimal import Decimal

from live.rehearsal.book import Kline
from live.rehearsal.record import MarketRecord

MINUTE_MS = 60_000


def minute(number: int, close: str, *, closed: bool, volume: str = "1") -> Kline:
    price, open_ms = Decimal(close), number * MINUTE_MS
    return Kline(
        *(open_ms, "BTCUSDT", "1m", open_ms, open_ms + MINUTE_MS - 1),
        *(price, price, price, price, Decimal(volume), Decimal(volume) * price, 1),
        *(Decimal(0), Decimal(0), closed),
    )


def test_a_minute_grows_until_it_closes() -> None:
    record = MarketRecord(["BTCUSDT"])
    record.add(minute(0, "100", closed=False))
    record.add(minute(0, "101", closed=False, volume="2"))
    assert [(k.close, k.volume, k.closed) for k in record.klines("BTCUSDT", "1m")] == [(101, 2, False)]
    record.add(minute(0, "102", closed=True, volume="3"))
    assert [(k.close, k.volume, k.closed) for k in record.klines("BTCUSDT", "1m")] == [(102, 3, True)]


def test_a_minute_in_which_the_market_stopped_has_closed_once_a_newer_one_is_there() -> None:
    """What a client is told of it over REST is for good, so nothing may take it for unfinished later."""
    record = MarketRecord(["BTCUSDT"])
    for kline in (
        minute(0, "100", closed=True),
        minute(1, "105", closed=False),
        minute(5, "90", closed=True),
    ):
        record.add(kline)
    told = record.klines("BTCUSDT", "1m")
    assert [(k.open_ms // MINUTE_MS, k.close, k.closed) for k in told] == [
        (0, 100, True),
        (1, 105, True),
        (5, 90, True),
    ]
