"""What a live node does not do on spot, and why: refused before anything is connected."""

from configs.errors import ConfigError
from configs.schema import RunConfig, StrategyConfig

__all__ = ["check_spot"]


def check_spot(run: RunConfig, *, is_rehearsal: bool) -> None:
    """ConfigError for what cannot be made safe on a spot venue with this engine."""
    if not is_rehearsal:
        raise ConfigError(
            "spot is traded on the rehearsal venue only: its orders have not been proven on Binance's own "
            "testnet, and the watchdog, which is for perpetuals, could not protect the coins of a dead node"
        )
    for index, strategy in enumerate(run.strategies):
        where, why = _refusal(strategy)
        if why:
            raise ConfigError(f"strategies.{index}.{where}: {why}")


def _refusal(strategy: StrategyConfig) -> tuple[str, str]:
    ladder = strategy.targets.ladder
    if len(ladder) > 1 or any(share < 1.0 for _, share in ladder):
        return "targets", (
            "spot locks what a sell order offers, and takes a stop and a target on the same coins only as "
            "one list: give one target (pct), or none"
        )
    if strategy.entry.order != "market":
        return "entry.order", "a resting entry is moved by cancelReplace, whose answer the engine cannot read"
    if strategy.scale_in is not None:
        return "scale_in", "each addition would take the cover away and send it again; leave it out"
    return "", ""
