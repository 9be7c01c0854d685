"""Bytes that are the same whenever the content is the same: what digests and signatures are taken over."""

import hashlib
from typing import Any

import msgspec


def canonical_json(value: Any) -> bytes:
    """JSON in UTF-8 with sorted keys and no white space, for structs, mappings and sequences."""
    return msgspec.json.encode(value, order="sorted")


def sha256_hex(data: bytes | memoryview) -> str:
    """Lower-case SHA-256 of bytes."""
    return hashlib.sha256(data).hexdigest()
