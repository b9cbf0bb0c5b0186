"""An index as a node came to know it: recorded by it, and what a backtest of the recording makes of it."""

from pathlib import Path

import numpy as np
import pytest
from nautilus_trader.model import BarType

from actors.messages import Sentiment
from catalog.columns import bar_type
from catalog.instruments import build_instrument, find_spec
from catalog.known import KnownColumns, append_known, read_known
from catalog.sentiment import SentimentColumns
from catalog.store import Catalog
from configs.errors import DataError
from configs.schema import RecordConfig
from live.record.audit_file import AuditFile
from live.record.recorder import Recorder
from live.record.recording import MarketWriter
from models.exogenous import KnownSeries
from models.train import load_exogenous
from tests.catalogs import BTC, HOUR_NS, JUNE
from tests.unit.test_outside import run_of

DAY = 24 * HOUR_NS
LATE = 7 * HOUR_NS


def with_known(folder: Path) -> Catalog:
    """Two days polled at once, then one that came late, and its correction."""
    catalog = Catalog.create(folder)
    known = JUNE + np.array([0, 0, DAY + LATE, DAY + 2 * LATE])
    due = JUNE + np.array([-DAY, 0, DAY, DAY])
    append_known(catalog, "fear_greed", KnownColumns(known, due, np.array([10.0, 20.0, 30.0, 31.0])))
    return catalog


def test_a_recorded_value_counts_from_when_the_node_had_it(tmp_path: Path) -> None:
    catalog = with_known(tmp_path)
    days = SentimentColumns(JUNE + np.array([0, DAY]), np.array([99.0, 99.0]))
    catalog.write_sentiment("fear_greed", days)  # when values were due says less
    columns = load_exogenous(run_of(tmp_path), catalog, JUNE, JUNE + 2 * DAY)
    asked = JUNE + np.array([-1, 0, DAY + LATE - 1, DAY + LATE, DAY + 2 * LATE])
    np.testing.assert_array_equal(columns.join(asked)[:, 0], [np.nan, 20.0, 20.0, 30.0, 31.0])
    early = load_exogenous(run_of(tmp_path), catalog, JUNE, JUNE + DAY)
    assert len(early.series) == 2


def test_a_period_in_which_the_node_knew_nothing_is_refused_in_a_line(tmp_path: Path) -> None:
    catalog = with_known(tmp_path)
    for start in (JUNE - 2 * DAY, JUNE + 40 * DAY):
        with pytest.raises(DataError, match="knew no fear_greed value from"):
            load_exogenous(run_of(tmp_path), catalog, start, start + DAY)


def recorder(folder: Path, index: KnownSeries) -> tuple[Recorder, MarketWriter, AuditFile]:
    market = MarketWriter(
        folder / "catalog", {BTC: build_instrument(find_spec("BTCUSDT", "um"))}, "1m", RecordConfig()
    )
    audit = AuditFile(folder / "audit")
    kind = BarType.from_str(bar_type(BTC, "1m"))
    return Recorder(audit, (kind,), market=market, index=index), market, audit


def test_a_recorder_keeps_what_counts_and_not_what_will(tmp_path: Path) -> None:
    index = KnownSeries([JUNE, JUNE + DAY], [40.0, 50.0], [JUNE, JUNE])
    made, market, audit = recorder(tmp_path, index)
    made._on_sentiment(Sentiment(series="fear_greed", ts_event=JUNE, value=40.0))
    made._on_sentiment(Sentiment(series="fear_greed", ts_event=JUNE, value=40.0))
    market.close()
    audit.close()
    known = read_known(Catalog.open(tmp_path / "catalog"), "fear_greed")
    assert (known.known_at.tolist(), known.value.tolist()) == ([JUNE], [40.0])
