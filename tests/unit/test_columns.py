from datetime import UTC, datetime, timedelta, timezone

from catalog.columns import utc_ns


def test_a_time_in_nanoseconds_keeps_its_zone_and_its_microseconds() -> None:
    assert utc_ns(datetime(1970, 1, 2, tzinfo=UTC)) == 86_400 * 10**9
    assert utc_ns(datetime(1970, 1, 2, 1, tzinfo=timezone(timedelta(hours=1)))) == 86_400 * 10**9
    assert utc_ns(datetime(2025, 4, 1, 0, 0, 0, 600_001, tzinfo=UTC)) == 1_743_465_600_600_001_000
