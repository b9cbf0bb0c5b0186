"""The scenario's side of the zygote: start a node, kill it at once, learn how it ended."""

import asyncio
import json
import os
import signal
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from configs.errors import RunFailedError

__all__ = ["End", "Node", "Nodes"]


class End(NamedTuple):
    """How a node ended: its exit code (negative: a signal), and the CPU seconds it took."""

    code: int
    cpu_secs: float


class Node:
    """A running node; `ended` is done when it is over."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.pid = 0
        self.started: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[End] = loop.create_future()

    def send(self, number: int) -> None:
        """A signal, delivered before this returns."""
        if self.pid and not self.ended.done():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """kill -9."""
        self.send(signal.SIGKILL)


class Nodes:
    """Starts nodes through a zygote's socket, on the running event loop; `models` is their models' folder."""

    def __init__(self, orders: socket.socket, models: Path) -> None:
        orders.setblocking(False)
        self.models = models
        self._orders = orders
        self._nodes: dict[int, Node] = {}
        self._count = 0
        self._text = b""
        asyncio.get_running_loop().add_reader(orders, self._read)

    async def start(self, args: list[str], output: Path, before: dict[str, Any] | None = None) -> Node:
        """Start a node with a command line; `before` arms `suicide.arm` in it."""
        self._count += 1
        node = self._nodes[self._count] = Node()
        request = {"number": self._count, "args": args, "output": str(output), "before": before}
        await asyncio.get_running_loop().sock_sendall(self._orders, json.dumps(request).encode() + b"\n")
        await node.started
        return node

    def close(self) -> None:
        """Stop listening; the zygote ends with its socket."""
        asyncio.get_running_loop().remove_reader(self._orders)
        self._orders.close()

    def _read(self) -> None:
        part = self._orders.recv(65_536)
        if not part:
            self._lose()
        *lines, self._text = (self._text + part).split(b"\n")
        for line in lines:
            values = json.loads(line)
            node = self._nodes[values["number"]]
            if "pid" in values:
                node.pid = values["pid"]
                node.started.set_result(None)
            else:
                del self._nodes[values["number"]]
                node.ended.set_result(End(values["code"], values["cpu_secs"]))

    def _lose(self) -> None:
        """The zygote is gone, and its nodes with it: whoever waits for one is told."""
        asyncio.get_running_loop().remove_reader(self._orders)
        for node in self._nodes.values():
            for awaited in (node.started, node.ended):
                if not awaited.done():
                    awaited.set_exception(RunFailedError("the process that nodes are forked from has died"))
        self._nodes.clear()
