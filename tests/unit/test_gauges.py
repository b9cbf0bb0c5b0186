"""The metrics: they say what the audit stream says, in a file and on a page."""

import json
import socket
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nautilus_trader.model import Currency, Money

from actors.messages import AuditRecord, OrderTold
from configs.errors import ConfigError
from live.record.gauges import Gauges, samples
from live.record.metrics import MetricsOut, resident_bytes

ONE, TWO = "BTCUSDT-PERP.BINANCE", "ETHUSDT-PERP.BINANCE"


def record(kind: str, instrument: str = "", component: str = "momentum", **detail: Any) -> AuditRecord:
    return AuditRecord(ts_event=1, component=component, instrument=instrument, kind=kind, detail=detail)


def told(event: str, role: str, **values: Any) -> OrderTold:
    made = type(event, (SimpleNamespace,), {})(**values)
    return OrderTold(strategy="momentum", role=role, event=made)


def values(gauges: Gauges) -> dict[str, Any]:
    return dict(samples(gauges.registry))


@given(
    st.lists(
        st.tuples(
            st.sampled_from([ONE, TWO]),
            st.sampled_from(["covered", "flat", "position_over", "exit"]),
            st.floats(0, 100),
        )
    )
)
def test_unprotected_seconds_are_those_of_the_audit_stream_each_counted_once(
    stream: list[tuple[str, str, float]],
) -> None:
    gauges, expected = Gauges(), {ONE: 0.0, TWO: 0.0}
    for instrument, action, secs in stream:
        gauges.hear(record("action", instrument, action=action, unprotected_secs=secs))
        if action in ("covered", "flat"):  # position_over sums up what these two have said
            expected[instrument] += secs
    found = values(gauges)
    for instrument, secs in expected.items():
        key = f'sextant_unprotected_seconds_total{{instrument="{instrument}"}}'
        assert found.get(key, 0.0) == pytest.approx(secs)


def test_decisions_and_refusals_are_counted_by_check_and_repeats_by_their_number() -> None:
    gauges = Gauges()
    for made in (
        record("intent", ONE),
        record("refusal", ONE, check="daily_loss", limit=1.0, value=2.0),
        record("refusal", ONE, check="daily_loss", side=1, repeated=41),
        record("intent", ONE),
        record("approval", ONE),
        record("alarm", component="guard", text="x"),
        record("error", component="guard"),
        record("node", component="recorder", what="reconnected", endpoint="user"),
        record("node", component="recorder", what="started"),
        record("bar", ONE),
    ):
        gauges.hear(made)
    found = values(gauges)
    assert found['sextant_intents_total{strategy="momentum"}'] == 2
    assert found['sextant_approvals_total{strategy="momentum"}'] == 1
    assert found['sextant_refusals_total{strategy="momentum",check="daily_loss"}'] == 42
    assert found['sextant_alarms_total{component="guard"}'] == 1
    assert found['sextant_errors_total{component="guard"}'] == 1
    assert found['sextant_socket_changes_total{endpoint="user",what="reconnected"}'] == 1


def test_orders_are_counted_by_role_and_event_and_refusals_by_what_they_mean() -> None:
    gauges = Gauges()
    usdt = Currency.from_str("USDT")
    for made in (
        told("OrderSubmitted", "stop"),
        told("OrderRejected", "stop", reason="code=-2019: Margin is insufficient."),
        told("OrderRejected", "entry", reason="INFLIGHT_TIMEOUT"),
        told("OrderFilled", "entry", commission=Money(1.5, usdt)),
        told("OrderFilled", "target", commission=Money(-0.5, usdt)),
        told("OrderFilled", "exit", commission=None),
    ):
        gauges.told(made)
    found = values(gauges)
    assert found['sextant_order_events_total{role="stop",event="Rejected"}'] == 1
    assert found['sextant_order_events_total{role="entry",event="Filled"}'] == 1
    assert found['sextant_rejects_total{role="stop",reason="account"}'] == 1
    assert found['sextant_rejects_total{role="entry",reason="network"}'] == 1
    assert found['sextant_commissions_total{currency="USDT"}'] == 1.5


def test_one_risk_mode_holds_at_a_time() -> None:
    gauges = Gauges()
    for mode in ("NORMAL", "HALTED"):
        gauges.hear(record("risk", component="guard", mode=mode))
    gauges.hear(record("risk", component="guard", command="resume", reason=""))  # no word on the mode
    modes = {name: value for name, value in values(gauges).items() if "risk_mode" in name}
    assert [name for name, value in modes.items() if value] == ['sextant_risk_mode{mode="HALTED"}']
    assert len(modes) == 4


def test_the_file_and_the_page_say_the_same_and_the_port_is_free_again(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    gauges = Gauges()
    gauges.equity.labels("USDT").set(123.5)
    gauges.bar_age.labels(ONE).set(float("nan"))
    with MetricsOut(gauges, tmp_path / "metrics.json", port):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
            text = page.read().decode()
        with pytest.raises(ConfigError, match=f"live.metrics_port {port}: .*choose another"):
            MetricsOut(gauges, tmp_path / "other.json", port)
    assert 'sextant_equity{currency="USDT"} 123.5' in text
    told_in_file = json.loads((tmp_path / "metrics.json").read_text())
    assert told_in_file["values"]['sextant_equity{currency="USDT"}'] == 123.5
    assert told_in_file["values"][f'sextant_last_bar_age_seconds{{instrument="{ONE}"}}'] is None
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]
    with MetricsOut(gauges, tmp_path / "metrics.json", port):
        pass


def test_resident_memory_is_that_of_a_python_process() -> None:
    assert 10e6 < resident_bytes() < 100e9
