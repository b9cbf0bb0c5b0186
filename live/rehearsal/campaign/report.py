"""The tables of a campaign."""

from collections.abc import Iterable
from pathlib import Path

from rich.table import Table

from configs.console import out
from live.rehearsal.campaign.figures import Row, cells
from live.rehearsal.campaign.results import LimitLine, Line, Result, Summary

__all__ = ["print_result", "print_summary"]

_SEEDS_SHOWN = 12


def print_summary(summary: Summary) -> None:
    """What was played, what failed, and how long positions were without a stop."""
    _print_classes("fault class", summary.fault_classes)
    _print_classes("killed at", summary.kill_steps)
    _print_classes("stage", summary.stages)
    _print_limits(summary.limits)
    _print_unprotected(summary.unprotected)
    table = Table("invariant", "failed", "seeds")
    for name, seeds in sorted(summary.failures.items()):
        table.add_row(name, str(len(seeds)), _shown(seeds))
    if summary.failures:
        out.print(table)
    for text in summary.shortfalls:
        out.print(f"short of: {text}", markup=False, highlight=False)
    out.print(
        f"{summary.scenarios} scenarios, {summary.positions} positions, {summary.kills} kills, "
        f"{summary.failed} failed; CPU seconds a scenario: {summary.node_cpu_secs:.1f} nodes, "
        f"{summary.venue_cpu_secs:.1f} venue",
        markup=False,
        highlight=False,
    )


def print_result(result: Result, folder: Path) -> None:
    """One scenario in full."""
    facts = (
        f"seed {result.seed}: {result.fault_class} / {result.kill_step} / {result.ending}",
        f"{result.lives} lives, {result.positions} positions, killed at {', '.join(result.kills) or '-'}",
        f"CPU {result.node_cpu_secs:.1f} s nodes, {result.venue_cpu_secs:.1f} s venue; all of it in {folder}",
    )
    out.print("; ".join(facts), markup=False, highlight=False)
    for bare in result.bare:
        cause = ", ".join(bare.fault_kinds) or "no fault"
        cause += ", kill" if bare.had_kill else ""
        text = f"unprotected: {bare.symbol} {bare.secs * 1000:.1f} ms ({cause})"
        out.print(text, markup=False, highlight=False)
    for violation in result.violations:
        out.print(f"{violation.invariant}: {violation.detail}", markup=False, highlight=False)


def _print_classes(title: str, lines: Iterable[Line]) -> None:
    table = Table(title, "scenarios", "came about", "failed", "seeds")
    for line in lines:
        table.add_row(
            line.name, str(line.scenarios), str(line.came_about), str(line.failed), _shown(line.seeds)
        )
    out.print(table)


def _print_limits(lines: Iterable[LimitLine]) -> None:
    table = Table("limit", "reached in", "across a kill", "on its stage", "reached", "across a kill")
    for line in lines:
        table.add_row(line.name, *map(str, line[1:]))
    out.print(table)


def _print_unprotected(rows: Iterable[Row]) -> None:
    table = Table("without a stop", "p50 ms", "p95 ms", "p99 ms", "longest ms (of n times)", "under 250 ms")
    for row in rows:
        table.add_row(*cells(row))
    out.print(table)


def _shown(seeds: Iterable[int]) -> str:
    listed = list(seeds)
    more = f" and {len(listed) - _SEEDS_SHOWN} more" if len(listed) > _SEEDS_SHOWN else ""
    return " ".join(map(str, listed[:_SEEDS_SHOWN])) + more
