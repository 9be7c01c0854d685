"""A network link as tests and benchmarks hold it."""

import json
import subprocess
import sys
from types import TracebackType
from typing import Any

import msgspec

from simulators.network.conditions import PARTITION, Conditions


class NetworkLink:
    """A link to an address, in a process of its own; a context manager.

    Args:
        host, port: where it leads to.
        conditions: at first.
        proxy: without network namespaces, even where they are possible.
        seed: of what gets lost.

    Attributes:
        host, port: where it listens.
        kind: ``path`` (real packets) or ``proxy`` (byte streams).
    """

    host = "127.0.0.1"

    def __init__(
        self,
        host: str,
        port: int,
        conditions: Conditions | None = None,
        *,
        proxy: bool = False,
        seed: int = 1,
    ) -> None:
        command = [sys.executable, "-m", "simulators.network", host, str(port), "--seed", str(seed)]
        command += ["--proxy"] if proxy else []
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started = self._answer()
        self.port: int = started["port"]
        self.kind: str = started["kind"]
        self._conditions = conditions or Conditions()
        self.change(self._conditions)

    def __enter__(self) -> "NetworkLink":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def change(self, conditions: Conditions) -> None:
        """From now on the network is like this."""
        self._conditions = conditions
        self._order(conditions=msgspec.to_builtins(conditions))

    def cut(self) -> None:
        """Let nothing pass, without a word to either end."""
        self._order(conditions=msgspec.to_builtins(PARTITION))

    def heal(self) -> None:
        """Let pass again, as it was before the cut."""
        self.change(self._conditions)

    def reset(self) -> None:
        """End all connections that stand."""
        self._order(reset=True)

    def carried(self) -> int:
        """Bytes that came out at either end so far, headers and repetitions included."""
        return sum(self._order().values())

    def carried_down(self) -> int:
        """Those of them that came out at the device's end."""
        return self._order()["down"]

    def _order(self, **order: Any) -> dict[str, int]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return dict(self._answer())

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())
