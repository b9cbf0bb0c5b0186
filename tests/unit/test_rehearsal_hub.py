"""Who hears which stream of the rehearsal venue."""

from typing import ClassVar

from live.rehearsal.ports import NoFaults
from live.rehearsal.serving.sockets import Hub


class _Ear:
    """As much of a socket as the hub asks for."""

    def __init__(self, *accounts: str) -> None:
        self.streams: dict[str, None] = {}
        self.accounts = dict.fromkeys(accounts, "key")


def test_the_hub_says_when_the_last_one_stops_listening() -> None:
    class Told(NoFaults):
        silent: ClassVar[list[str]] = []

        def on_silence(self, stream: str) -> None:
            self.silent.append(stream)

    faults = Told()
    hub, ears = Hub(faults), [_Ear("main"), _Ear("main"), _Ear()]
    for ear in ears:
        hub.add(ear)  # type: ignore[arg-type]
        hub.subscribe(ear, ["btcusdt@trade"])  # type: ignore[arg-type]
    hub.remove(ears[0])  # type: ignore[arg-type]
    assert faults.silent == []
    hub.remove(ears[1])  # type: ignore[arg-type]
    assert faults.silent == ["user"]
    hub.remove(ears[2])  # type: ignore[arg-type]
    assert faults.silent == ["user", "btcusdt@trade"]
