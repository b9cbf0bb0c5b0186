"""The campaign: live nodes in seeded scenarios on a venue that misbehaves, killed and started again.

    python -m live.rehearsal.campaign                                 1,000 scenarios
    python -m live.rehearsal.campaign --count 50 --jobs 4 --first-seed 200
    python -m live.rehearsal.campaign --market spot                   150 scenarios on spot
    python -m live.rehearsal.campaign --seed 217 --out runs/replay    one again, told in full, everything kept
    python -m live.rehearsal.campaign --seed 217 --mutant stop_late   with a broken node: it must fail
    python -m live.rehearsal.campaign --mutants --out runs/mutants    every broken node, until it is accused

Exit 0: every invariant held in every scenario; 1: not. A failed scenario leaves its evidence, with the node's
state, audit and output, in DIR/failed/SEED; a worker that died leaves what it said in DIR/failed/SEED-died.
"""

import configs.interrupts  # noqa: F401  before the libraries that take seconds to load

# isort: split

import asyncio
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from configs.console import command_app, emit_json, err, out, run_app
from configs.errors import InputError, RunFailedError
from live.rehearsal.campaign.kill_table import kill_table, print_kills
from live.rehearsal.campaign.model import make_models
from live.rehearsal.campaign.mutants import MUTANTS
from live.rehearsal.campaign.nodes import Nodes
from live.rehearsal.campaign.pool import play_all
from live.rehearsal.campaign.report import print_result, print_summary
from live.rehearsal.campaign.results import Result, summarise
from live.rehearsal.campaign.scenario import Kind
from live.rehearsal.campaign.stages import PLAIN, STAGES
from live.rehearsal.campaign.variants import VARIANTS
from live.rehearsal.campaign.worker import Task, play_seed
from live.rehearsal.campaign.zygote import fork_zygote, prepare, run_apart

__all__ = ["main"]

_PROGRESS_SECS = 10.0

app = command_app("Play seeded scenarios of a live node on a misbehaving venue and check what must hold.")


@app.command()
def main(
    seed: Annotated[int | None, typer.Option(min=0, help="Play this one alone and tell all of it.")] = None,
    market: Annotated[Kind, typer.Option(help="USD-M futures, or spot.")] = "um",
    count: Annotated[
        int | None, typer.Option(min=1, help="How many scenarios; 1,000 on futures, 150 on spot.")
    ] = None,
    first_seed: Annotated[int, typer.Option(min=0, help="The first one's seed; the others follow.")] = 0,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Scenarios at the same time.")] = 6,
    folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="Results and failures.")] = Path(
        "runs/campaign"
    ),
    mutant: Annotated[
        str | None, typer.Option(help="Break every node in this way (mutants.py): something must accuse it.")
    ] = None,
    stage: Annotated[
        str | None,
        typer.Option(help="Play all on this stage (stages.py) or on `plain`."),
    ] = None,
    mutants: Annotated[
        bool,
        typer.Option("--mutants", help="Play every broken node, or that of --mutant: all must be accused."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one object.")] = False,
) -> None:
    """Play the campaign, or one scenario of it."""
    if mutant is not None and mutant not in MUTANTS:
        raise InputError(f"there is no mutant {mutant!r}: {', '.join(MUTANTS)}")
    if stage is not None and (market != "um" or stage not in (PLAIN, *STAGES)):
        raise InputError(f"there is no stage {stage!r} on {market}: {', '.join((PLAIN, *STAGES))} on um")
    folder.mkdir(parents=True, exist_ok=True)
    prepare()
    models = folder / "models"
    if market == "um":
        make_models(models, run_apart)
    if mutants:
        _play_mutants(folder, models, tuple(MUTANTS) if mutant is None else (mutant,), as_json=as_json)
        return
    if seed is not None:
        _play_one(seed, Task(folder, models, market, mutant, folder, stage), as_json=as_json)
        return
    seeds = range(first_seed, first_seed + (count or VARIANTS[market].scenarios))
    results = _play_many(seeds, jobs, Task(folder / "failed", models, market, mutant, stage=stage))
    summary = summarise(results)
    (folder / "results.json").write_bytes(
        msgspec.json.format(msgspec.json.encode({"summary": summary, "results": results}))
    )
    if as_json:
        emit_json(msgspec.json.decode(msgspec.json.encode(summary)))  # a quantile of too few is null
    else:
        print_summary(summary)
    if summary.shortfalls:
        raise RunFailedError("; ".join(summary.shortfalls))
    if summary.failed:
        raise RunFailedError(f"{summary.failed} of {summary.scenarios} scenarios failed: {folder / 'failed'}")


def _play_one(seed: int, task: Task, *, as_json: bool) -> None:
    async def run() -> Result:
        nodes = Nodes(zygote, task.models)
        try:
            return await play_seed(seed, nodes, task, keep_all=True)
        finally:
            nodes.close()

    if not as_json:
        out.print_json(msgspec.json.encode(task.scenario_of(seed)).decode())
    zygote, _ = fork_zygote(task.mutant)
    result = asyncio.run(run())
    if as_json:
        emit_json(msgspec.to_builtins(result))
    else:
        print_result(result, task.keep / str(seed))
    if result.violations:
        raise RunFailedError(f"seed {seed}: {', '.join(sorted({v.invariant for v in result.violations}))}")


def _play_mutants(folder: Path, models: Path, names: tuple[str, ...], *, as_json: bool) -> None:
    kills = []
    for kill in kill_table(folder, models, names):
        kills.append(kill)
        text = f"{kill.mutant}: {', '.join(kill.accusers) or 'not accused'} ({len(kill.seeds)} seeds)"
        err.print(text, markup=False, highlight=False)
    (folder / "mutants.json").write_bytes(msgspec.json.format(msgspec.json.encode(kills)))
    if as_json:
        emit_json({"mutants": msgspec.to_builtins(kills)})
    else:
        print_kills(kills)
    alive = [kill.mutant for kill in kills if not kill.is_dead]
    if alive:
        raise RunFailedError(f"{len(alive)} of {len(kills)} mutants survive: {', '.join(alive)}")


def _play_many(seeds: range, jobs: int, task: Task) -> list[Result]:
    results: list[Result] = []
    began = told = time.monotonic()

    def tell() -> None:
        nonlocal told
        if time.monotonic() - told >= _PROGRESS_SECS:
            told = time.monotonic()
            failed = sum(bool(result.violations) for result in results)
            text = f"{len(results)} of {len(seeds)} scenarios after {told - began:.0f} s, {failed} failed"
            err.print(text, markup=False, highlight=False)

    for result in play_all(seeds, jobs, task, idle=tell):
        results.append(result)
        for violation in result.violations:
            text = f"seed {result.seed}: {violation.invariant}: {violation.detail}"
            err.print(text, markup=False, highlight=False)
    return sorted(results, key=lambda result: result.seed)


if __name__ == "__main__":
    run_app(app)
