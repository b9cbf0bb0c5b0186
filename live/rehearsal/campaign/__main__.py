"""The campaign: live nodes in seeded scenarios on a venue that misbehaves, killed and started again.

    python -m live.rehearsal.campaign                                 1,000 scenarios
    python -m live.rehearsal.campaign --count 50 --jobs 4 --first-seed 200
    python -m live.rehearsal.campaign --market spot                   150 scenarios on spot
    python -m live.rehearsal.campaign --seed 217 --out runs/replay    one again, told in full, everything kept

Exit 0: every invariant held in every scenario; 1: not. A failed scenario leaves its evidence, with the node's
state, audit and output, in DIR/failed/SEED.
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
from configs.errors import RunFailedError
from live.rehearsal.campaign.nodes import Nodes
from live.rehearsal.campaign.pool import play_all
from live.rehearsal.campaign.report import print_result, print_summary
from live.rehearsal.campaign.results import Result, summarise
from live.rehearsal.campaign.scenario import Kind
from live.rehearsal.campaign.variants import VARIANTS
from live.rehearsal.campaign.worker import play_seed
from live.rehearsal.campaign.zygote import fork_zygote, prepare

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
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one object.")] = False,
) -> None:
    """Play the campaign, or one scenario of it."""
    folder.mkdir(parents=True, exist_ok=True)
    prepare()
    if seed is not None:
        _play_one(seed, folder, market, as_json=as_json)
        return
    seeds = range(first_seed, first_seed + (count or VARIANTS[market].scenarios))
    results = _play_many(seeds, jobs, folder, market)
    summary = summarise(results)
    (folder / "results.json").write_bytes(
        msgspec.json.format(msgspec.json.encode({"summary": summary, "results": results}))
    )
    if as_json:
        emit_json(msgspec.to_builtins(summary))
    else:
        print_summary(summary)
    if summary.failed:
        raise RunFailedError(f"{summary.failed} of {summary.scenarios} scenarios failed: {folder / 'failed'}")


def _play_one(seed: int, folder: Path, market: Kind, *, as_json: bool) -> None:
    async def run() -> Result:
        nodes = Nodes(zygote)
        try:
            return await play_seed(seed, nodes, folder, market, keep_all=True)
        finally:
            nodes.close()

    if not as_json:
        out.print_json(msgspec.json.encode(VARIANTS[market].scenario_of(seed)).decode())
    zygote, _ = fork_zygote()
    result = asyncio.run(run())
    if as_json:
        emit_json(msgspec.to_builtins(result))
    else:
        print_result(result, folder / str(seed))
    if result.violations:
        raise RunFailedError(f"seed {seed}: {', '.join(sorted({v.invariant for v in result.violations}))}")


def _play_many(seeds: range, jobs: int, folder: Path, market: Kind) -> list[Result]:
    results: list[Result] = []
    began = told = time.monotonic()

    def tell() -> None:
        nonlocal told
        if time.monotonic() - told >= _PROGRESS_SECS:
            told = time.monotonic()
            failed = sum(bool(result.violations) for result in results)
            text = f"{len(results)} of {len(seeds)} scenarios after {told - began:.0f} s, {failed} failed"
            err.print(text, markup=False, highlight=False)

    for result in play_all(seeds, jobs, folder / "failed", market, idle=tell):
        results.append(result)
        for violation in result.violations:
            text = f"seed {result.seed}: {violation.invariant}: {violation.detail}"
            err.print(text, markup=False, highlight=False)
    return sorted(results, key=lambda result: result.seed)


if __name__ == "__main__":
    run_app(app)
