"""Writes audit lines and bars for ever, as a node would, and tells each before; run as a script to be killed.

python recording_child.py FOLDER SESSION
"""

import sys
import time
from pathlib import Path

from nautilus_trader.model import Bar, BarType, Price, Quantity

from catalog.columns import bar_type
from catalog.instruments import build_instrument, find_spec
from configs.schema import RecordConfig
from live.record.audit_file import AuditFile
from live.record.recording import MarketWriter
from tests.catalogs import BTC, JUNE, MINUTE_NS

PER_SESSION = 1_000_000
PAUSE_SECS = 0.002


def main() -> None:
    folder, session = Path(sys.argv[1]), int(sys.argv[2])
    market = MarketWriter(
        folder / "catalog", {BTC: build_instrument(find_spec("BTCUSDT", "um"))}, "1m", RecordConfig()
    )
    audit = AuditFile(folder / "audit")
    kind = BarType.from_str(bar_type(BTC, "1m"))
    price, size = Price(100.0, 1), Quantity(1.0, 3)
    number = session * PER_SESSION
    while True:
        ts = JUNE + number * MINUTE_NS
        # told first: what is told and not found afterwards was lost
        sys.stdout.write(f"{number} {time.time_ns()}\n")
        sys.stdout.flush()
        audit.put({"kind": "test", "ts": ts, "detail": {"number": number}})
        market.put(Bar(kind, price, price, price, price, size, ts, ts))
        number += 1
        time.sleep(PAUSE_SECS)


if __name__ == "__main__":
    main()
