"""A baseline JPEG cut into RTP packets, after RFC 2435 (types 0 and 1, quantization tables in-band).

The receiver builds the picture's header anew from eight bytes and the tables, with the standard Huffman
tables of the JPEG specification; OpenCV writes with those unless it is asked to optimize.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

PAYLOAD_BYTES = 1400
CLOCK_HZ = 90_000
PAYLOAD_TYPE = 26
_TABLES_IN_BAND = 255
_SOF0, _DQT, _SOS = 0xC0, 0xDB, 0xDA


class Scan(NamedTuple):
    """What RTP carries of a JPEG.

    Attributes:
        kind: 0 for 4:2:2, 1 for 4:2:0 (RFC 2435, section 4.1).
        width, height: pixels, multiples of 8.
        tables: quantization tables, luminance first.
        data: entropy-coded.
    """

    kind: int
    width: int
    height: int
    tables: bytes
    data: bytes


def parse(jpeg: bytes) -> Scan:
    """Take a JPEG apart.

    Raises:
        ValueError: it is none that RFC 2435 can carry.
    """
    position, tables, size, kind = 2, b"", (0, 0), 1
    while position + 4 <= len(jpeg):
        marker, length = jpeg[position + 1], int.from_bytes(jpeg[position + 2 : position + 4], "big")
        body = jpeg[position + 4 : position + 2 + length]
        if marker == _DQT:
            tables += b"".join(body[start + 1 : start + 65] for start in range(0, len(body), 65))
        elif marker == _SOF0:
            height, width = struct.unpack(">HH", body[1:5])
            size, kind = (width, height), {0x21: 0, 0x22: 1}[body[7]]
        elif marker == _SOS:
            return Scan(kind, *size, tables, jpeg[position + 2 + length : -2])
        position += 2 + length
    raise ValueError("no scan in this JPEG")


def packets(scan: Scan, timestamp: int, sequence: int, source: int) -> Iterator[bytes]:
    """RTP packets of one picture (RFC 3550, section 5.1); the last one carries the marker."""
    first = struct.pack(">BBH", 0, 0, len(scan.tables)) + scan.tables
    offset = 0
    while offset < len(scan.data):
        extra = first if offset == 0 else b""
        piece = scan.data[offset : offset + PAYLOAD_BYTES - len(extra)]
        last = offset + len(piece) >= len(scan.data)
        header = struct.pack(
            ">BBHII", 0x80, PAYLOAD_TYPE | (0x80 if last else 0), sequence & 0xFFFF, timestamp, source
        )
        place = struct.pack(">IBBBB", offset, scan.kind, _TABLES_IN_BAND, scan.width // 8, scan.height // 8)
        yield header + place + extra + piece
        offset += len(piece)
        sequence += 1
