"""Preflight's check of the Fear & Greed index: whether what rests on it will have an opinion."""

import math
import time
from datetime import UTC, datetime

from actors.sentiment import Answer, ask_fear_greed, learn_day
from catalog.columns import MINUTE_NS
from live.checks.report import Context, Row, failed, ok, warned
from live.outside import names_used
from models.exogenous import ExogenousColumns, KnownSeries

__all__ = ["check_sentiment"]

_CHECK = "sentiment"
_EXAMPLE = "https://api.alternative.me/fng/?limit=40"
_SILENT = "what rests on it enters nothing until there is a value"


def check_sentiment(context: Context) -> Row:
    """Somebody tells the index, and its history is long enough for the columns that are looked at."""
    names, outside = names_used(context.specs.values()), context.setup.outside
    if not names:
        return ok(_CHECK, "no strategy and no model looks at it")
    if outside is None:
        return ok(_CHECK, "the node follows it already")
    if outside.replayed:
        return ok(_CHECK, f"{len(outside.columns.series)} values of the catalog, replayed with its market")
    url = context.run.sentiment.url
    if url is None or not url.startswith(("http://", "https://")):
        found = f"{', '.join(names)} is looked at, and sentiment.url is {'not set' if url is None else url}"
        return failed(_CHECK, found, f"set sentiment.url in the run file, for example to {_EXAMPLE}")
    answer = ask_fear_greed(url, timeout_secs=context.run.sentiment.timeout_secs)
    return _told(names, _with(outside.columns, answer), answer)


def _with(columns: ExogenousColumns, answer: Answer) -> ExogenousColumns:
    """As the node's own component will have them after the same answer; the node's are left alone."""
    rows = [columns.series.row(index) for index in range(len(columns.series))]
    series = KnownSeries([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])
    delay_ns = columns.config.publication_delay_minutes * MINUTE_NS
    now = time.time_ns()
    for day, value in answer.days:
        if day <= now:
            learn_day(series, day, value, now=now, delay_ns=delay_ns)
    return ExogenousColumns(series, columns.config)


def _told(names: tuple[str, ...], columns: ExogenousColumns, answer: Answer) -> Row:
    now, series = time.time_ns(), columns.series
    newest = series.find(now, columns.max_age_ns)
    found = "no value yet"
    if newest >= 0:
        _, value, due = series.row(newest)
        since = f"{datetime.fromtimestamp(due / 1e9, UTC):%Y-%m-%dT%H:%M}Z"
        found = f"{value:g}, due {since}, {len(series)} values in all"
    elif len(series):
        age_hours = (now - series.row(-1)[2]) / (60 * MINUTE_NS)
        found = f"the newest value is {age_hours:.0f} h old, {columns.config.max_age_hours:g} h are allowed"
    if answer.failure:
        advice = f"look at sentiment.url; the node asks again and again, {_SILENT}"
        return warned(_CHECK, f"{found}; the service: {answer.failure}", advice)
    known = dict(zip(columns.names, columns.at(now), strict=True))
    missing = [name for name in names if math.isnan(known[name])]
    if missing:
        advice = f"let sentiment.url bring 40 days ({_EXAMPLE}) or ingest newer history; {_SILENT}"
        return warned(_CHECK, f"{found}; without {', '.join(missing)}", advice)
    return ok(_CHECK, found)
