"""Weights, order counts, 429 and 418: windows of the exchange, worked out by hand."""

import pytest

from live.rehearsal.errors import VenueError
from live.rehearsal.serving.limits import Limits, RateLimiter

IP, ACCOUNT = "127.0.0.1", "main"
MINUTE = 60_000


def refused(limiter: RateLimiter, weight: int, now_ms: int) -> VenueError:
    with pytest.raises(VenueError) as error:
        limiter.spend(IP, weight, now_ms)
    return error.value


def test_weights_add_up_in_a_minute_and_start_anew_in_the_next() -> None:
    limiter = RateLimiter()
    assert [limiter.spend(IP, w, MINUTE + n) for n, w in enumerate((5, 20, 1))] == [5, 25, 26]
    assert limiter.spend("10.0.0.1", 3, MINUTE) == 3
    assert limiter.spend(IP, 2, 2 * MINUTE) == 2
    assert limiter.headers(IP, None, 2 * MINUTE + 9) == {"X-MBX-USED-WEIGHT-1M": "2"}
    assert limiter.headers(IP, None, 3 * MINUTE) == {"X-MBX-USED-WEIGHT-1M": "0"}


def test_beyond_the_limit_comes_429_until_the_minute_ends() -> None:
    limiter = RateLimiter(Limits(weight_a_minute=10))
    assert limiter.spend(IP, 10, 5_000) == 10
    error = refused(limiter, 1, 20_500)
    assert (error.code, error.http_status) == (-1003, 429)
    # 39.5 seconds are left of the minute.
    assert limiter.retry_after_secs(IP, None, 20_500) == 40
    assert limiter.spend(IP, 1, 60_000) == 1


def test_who_goes_on_is_banned_with_418_and_the_next_ban_is_longer() -> None:
    limiter = RateLimiter(Limits(weight_a_minute=10))
    limiter.spend(IP, 10, 0)
    statuses = [refused(limiter, 1, n).http_status for n in range(11)]
    assert statuses == [429] * 10 + [418]
    # The first ban lasts two minutes from the eleventh refusal, at 10 ms.
    assert limiter.retry_after_secs(IP, None, 10) == 120
    banned = refused(limiter, 1, 120_009)
    assert (banned.code, banned.http_status) == (-1003, 418)
    assert banned.message.startswith("Way too many requests; IP(127.0.0.1) banned until 120010.")
    assert limiter.spend(IP, 10, 120_010) == 10
    assert [refused(limiter, 1, 120_020).http_status for _ in range(11)][-1] == 418
    assert limiter.retry_after_secs(IP, None, 120_020) == 600


def test_a_quiet_minute_forgives_refusals() -> None:
    limiter = RateLimiter(Limits(weight_a_minute=10))
    limiter.spend(IP, 10, 0)
    for n in range(10):
        assert refused(limiter, 1, n).http_status == 429
    limiter.spend(IP, 10, MINUTE)
    assert refused(limiter, 1, MINUTE + 1).http_status == 429


def test_orders_are_counted_by_account_in_both_windows() -> None:
    limiter = RateLimiter(Limits(orders_in_ten_seconds=3, orders_a_minute=5))
    limiter.count_orders(ACCOUNT, 3, 1_000)
    with pytest.raises(
        VenueError, match="-1015: Too many new orders; current limit is 3 orders per 10 SECOND"
    ):
        limiter.count_orders(ACCOUNT, 1, 2_000)
    assert limiter.retry_after_secs(IP, ACCOUNT, 2_000) == 8
    limiter.count_orders(ACCOUNT, 1, 10_000)
    assert limiter.headers(IP, ACCOUNT, 10_001) == {
        "X-MBX-USED-WEIGHT-1M": "0",
        "X-MBX-ORDER-COUNT-10S": "1",
        "X-MBX-ORDER-COUNT-1M": "5",
    }
    with pytest.raises(VenueError, match="1 MINUTE") as error:
        limiter.count_orders(ACCOUNT, 1, 11_000)
    assert error.value.http_status == 429
    assert limiter.retry_after_secs(IP, ACCOUNT, 11_000) == 49
    limiter.count_orders("other", 1, 11_000)


def test_the_websocket_counts_name_each_limit_with_what_is_used() -> None:
    limiter = RateLimiter()
    limiter.spend(IP, 7, 0)
    limiter.count_orders(ACCOUNT, 2, 0)
    counts = limiter.counts(IP, ACCOUNT, 1)
    assert [(c["rateLimitType"], c["intervalNum"], c["limit"], c["count"]) for c in counts] == [
        ("ORDERS", 10, 300, 2),
        ("ORDERS", 1, 1200, 2),
        ("REQUEST_WEIGHT", 1, 2400, 7),
    ]
    assert limiter.counts(IP, None, 1) == counts[2:]
