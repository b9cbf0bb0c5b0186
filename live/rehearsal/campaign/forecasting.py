"""What a model says live, through kills and faults, is what it says offline of the same bars."""

import math
from collections.abc import Iterator

from live.rehearsal.campaign.evidence import Evidence, Violation
from live.rehearsal.campaign.timeline import SECOND_NS, has_forgotten, instrument_symbol, records

__all__ = ["forecasts_agree"]

CLOSE = 1e-4  # a smoothing remembers a little of where its history began, which is where a node asked for it
_ENOUGH_NS = 4 * SECOND_NS  # of trading: some bars have closed by then at any speed


def forecasts_agree(evidence: Evidence) -> list[Violation]:
    """Each forecast of each life is that of the venue's bars, and each life that trades for long makes some.

    Of a model alone. A venue that has lost its memory has lost the bars as well.
    """
    if not evidence.scenario.has_model or has_forgotten(evidence):
        return []
    found = []
    for record in records(evidence, "forecast"):
        if record["component"] != "forecaster":
            continue
        symbol, ts = instrument_symbol(record["instrument"]), int(record["ts"])
        said, due = float(record["detail"]["probability"]), evidence.forecasts.get(symbol, {}).get(ts)
        if due is None or not abs(said - due) <= CLOSE:  # NaN, too
            text = f"{symbol}: the node forecast {said:.6f} at {ts}, of the venue's bars it is {due}"
            found.append(Violation("forecasts_agree", text, int(record["wall"])))
    return [*found, *_silent(evidence)]


def _silent(evidence: Evidence) -> Iterator[Violation]:
    walls = [
        int(r["wall"]) for r in records(evidence, "forecast") if not math.isnan(r["detail"]["probability"])
    ]
    until = evidence.faults_cleared_ns  # from then on the market hardly moves
    for number, life in enumerate(evidence.lives, 1):
        if life.ready_ns is None or evidence.faults:
            continue
        ended = min(life.ended_ns, until)
        if ended - life.ready_ns > _ENOUGH_NS and not any(life.ready_ns <= wall <= ended for wall in walls):
            secs = (ended - life.ready_ns) / SECOND_NS
            yield Violation("forecasts_agree", f"life {number} traded for {secs:.1f} s without a forecast")
