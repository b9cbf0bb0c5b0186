"""The audit stream: in order, canonical, without chance in it, and sensitive to one bit."""

import json
import math
import re

import numpy as np
import pandas as pd
import pytest

from actors.audit import decisions_frame, decisions_hash
from actors.messages import AuditRecord
from tests.markets import DOWN, UP, desk, flat_rows, random_rows, random_script

BTC = "BTCUSDT-PERP.BINANCE"


def record(ts_event: int = 0, kind: str = "action", **detail: object) -> AuditRecord:
    return AuditRecord(ts_event=ts_event, component="c", instrument=BTC, kind=kind, detail=detail)


def test_a_trade_leaves_its_whole_story_in_order():
    result = desk(flat_rows(5, b3=(100, 105, 99.5, 104)), {1: UP})
    story = [
        (r.kind, r.detail.get("event") or r.detail.get("action"), r.detail.get("role"))
        for r in result.records
    ]
    assert story == [
        ("risk", None, None),
        ("forecast", None, None),
        ("intent", None, None),
        ("approval", None, None),
        ("order", "OrderFilled", "entry"),
        ("action", "open_plan", None),
        ("order", "OrderAccepted", "stop"),
        ("order", "OrderAccepted", "target"),
        ("order", "OrderFilled", "target"),
        ("order", "OrderCanceled", "stop"),
    ]
    details = [r.detail for r in result.records[1:]]  # after the guard's first word
    assert details[0] == {"model": "direction", "probability": 0.7}
    assert details[1] == {"side": 1, "confidence": 1.0, "reasons": ["probability_high"]}
    # lost at the stop: 2 a coin, and 6 bps of 100 at either end: 100 x 2.12
    assert details[2] == {
        "side": 1,
        "quantity": 100.0,
        "bound_by": "fraction",
        "risk_amount": pytest.approx(212),
        "factors": {"confidence": 1.0, "mode": 1.0, "regime": 1.0, "correlation": 1.0},
    }
    assert details[4] == {
        "action": "open_plan",
        "entry": 100.0,
        "stop": 98.0,
        "targets": [104.0],
        "confidence": 1.0,
    }
    assert details[7]["quantity"] == "100.000"
    assert details[7]["price"] == "104.0"


def test_forecasts_that_nobody_acts_on_are_not_recorded():
    records = desk(flat_rows(6), {1: 0.54, 3: 0.46}).records
    assert [(r.component, r.kind) for r in records] == [("guard", "risk")]


def test_records_stand_in_engine_time():
    result = desk(random_rows(5, 600), random_script(5, 600))
    times = [r.ts_event for r in result.records]
    assert len(times) > 200
    assert times == sorted(times)


def test_equal_runs_have_equal_decisions_and_something_was_decided():
    first, second = (desk(random_rows(5, 600), random_script(5, 600)) for _ in range(2))
    assert len(first.fills()) > 20
    assert decisions_hash(first.records) == decisions_hash(second.records)
    pd.testing.assert_frame_equal(decisions_frame(first.records), decisions_frame(second.records))


def test_the_last_bit_of_an_acted_on_probability_changes_the_hash():
    up = math.nextafter(UP, 1.0)
    plain, nudged = (desk(flat_rows(5), {1: p, 3: DOWN}) for p in (UP, up))
    assert plain.fills() == nudged.fills()
    assert decisions_hash(plain.records) != decisions_hash(nudged.records)


def test_a_forecast_that_is_not_acted_on_changes_nothing():
    plain, other = (desk(flat_rows(5), {1: UP, 2: p}) for p in (0.5, 0.51))
    assert decisions_hash(plain.records) == decisions_hash(other.records)


def test_records_hold_no_random_ids():
    result = desk(random_rows(5, 600), random_script(5, 600))
    text = "\n".join(decisions_frame(result.records)["detail"])
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-", text)
    ids = {r.detail["client_order_id"] for r in result.records if r.kind == "order"}
    assert all(re.fullmatch(r"O-20240101-\d{6}-001-00-\d+", order_id) for order_id in ids)


def test_the_hash_is_over_order_content_and_nothing_else():
    a, b = record(1, x=1.0, y="z"), record(2, x=0.1)
    assert decisions_hash([a, b]) == decisions_hash([record(1, y="z", x=1.0), b])
    variants = [
        [b, a],
        [a],
        [],
        [record(1, x=1, y="z"), b],
        [record(1, kind="order", x=1.0, y="z"), b],
        [record(3, x=1.0, y="z"), b],
        [a, record(2, x=float(np.nextafter(0.1, 1)))],
    ]
    hashes = {decisions_hash(records) for records in ([a, b], *variants)}
    assert len(hashes) == 1 + len(variants)
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in hashes)


def test_the_hash_is_the_same_on_every_machine():
    # sha256 of '1|c|BTCUSDT-PERP.BINANCE|action|{"x":0.1}\n'
    expected = "ea746146490f6341f3e365d561df275bb6dbd94b7fcd1f411ba6ff9224477559"
    assert decisions_hash([record(1, x=0.1)]) == expected


def test_the_table_has_sequence_time_and_canonical_json():
    frame = decisions_frame([record(1_704_095_460_000_000_000, b=[1, 2], a=0.1), record(2, a=None)])
    assert frame.columns.tolist() == ["seq", "ts_event", "component", "instrument", "kind", "detail"]
    assert frame["seq"].tolist() == [0, 1]
    assert str(frame["ts_event"].dtype) == "datetime64[ns, UTC]"
    assert frame["ts_event"][0] == pd.Timestamp("2024-01-01T07:51", tz="UTC")
    assert frame["detail"].tolist() == ['{"a":0.1,"b":[1,2]}', '{"a":null}']


def test_an_empty_stream_is_an_empty_table_of_the_same_columns():
    frame, full = decisions_frame([]), decisions_frame([record()])
    assert len(frame) == 0
    assert frame.dtypes.to_dict() == full.dtypes.to_dict()


@pytest.mark.parametrize(("value", "word"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf")])
def test_numbers_that_json_does_not_know_are_words(value, word):
    detail = decisions_frame([record(check="price", value=value)])["detail"][0]
    assert json.loads(detail) == {"check": "price", "value": word}
    assert decisions_hash([record(value=value)]) == decisions_hash([record(value=value)])
