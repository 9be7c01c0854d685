"""``python -m simulators.network [--proxy] HOST PORT``: one link, in a process of its own.

It prints ``{"port": ..., "kind": ...}``. Then each line on standard input is an order in JSON, answered by a
line: ``{"conditions": {...}}``, ``{"reset": true}`` (end all connections), ``{}``; the answer tells the bytes
carried so far. End of input ends it.
"""

import argparse
import asyncio
import json
import sys

import msgspec

from simulators.network.conditions import Conditions
from simulators.network.path import is_possible
from simulators.network.relays import PathRelay, ProxyRelay, Relay


def main() -> int:
    """Run a link until the input ends."""
    parser = argparse.ArgumentParser(prog="python -m simulators.network", description=__doc__)
    parser.add_argument("host", help="where the link leads to")
    parser.add_argument("port", type=int)
    parser.add_argument("--proxy", action="store_true", help="no namespaces, even where possible")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    asyncio.run(_serve(given.host, given.port, given.seed, proxy=given.proxy or not is_possible()))
    return 0


async def _serve(host: str, port: int, seed: int, *, proxy: bool) -> None:
    relay: Relay = ProxyRelay(host, port, seed) if proxy else PathRelay(host, port, seed)
    listening = await relay.start()
    print(json.dumps({"port": listening, "kind": relay.kind}), flush=True)
    orders = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while line := await orders.readline():
        order = json.loads(line)
        if "conditions" in order:
            relay.change(msgspec.convert(order["conditions"], Conditions))
        if order.get("reset"):
            relay.reset()
        print(json.dumps(relay.carried), flush=True)


if __name__ == "__main__":
    sys.exit(main())
