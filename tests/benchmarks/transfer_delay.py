"""A slower way to a broker: ``python -m tests.benchmarks.transfer_delay HOST PORT MILLISECONDS``.

A TCP relay that holds every byte back for so long in each direction, in order, without a limit of the rate:
what a distance does to a connection whose windows are large enough. Prints its port, and ends with its
standard input.
"""

import asyncio
import contextlib
import socket
import sys

PIECE_BYTES = 256 * 1024
ON_THE_WAY = 64
"""Pieces in each direction: 16 MiB."""


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    loop = asyncio.get_running_loop()
    way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(ON_THE_WAY)

    async def deliver() -> None:
        while True:
            due, piece = await way.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not piece:
                break
            writer.write(piece)
            await writer.drain()
        writer.close()

    delivering = asyncio.create_task(deliver())
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(PIECE_BYTES):
            await way.put((loop.time() + delay_s, piece))
    await way.put((loop.time() + delay_s, b""))
    with contextlib.suppress(ConnectionError):
        await delivering


async def _serve(host: str, port: int, delay_s: float) -> None:
    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(host, port, limit=4 * PIECE_BYTES)
        for end in (writer, far_writer):
            end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.gather(
            _carry(reader, far_writer, delay_s), _carry(far_reader, writer, delay_s), return_exceptions=True
        )

    server = await asyncio.start_server(relay, "127.0.0.1", 0, limit=4 * PIECE_BYTES)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    """Relay until standard input ends."""
    host, port, milliseconds = sys.argv[1:]
    asyncio.run(_serve(host, int(port), float(milliseconds) / 1000))


if __name__ == "__main__":
    main()
