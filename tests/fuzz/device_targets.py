"""What a device reads from the network: the broker's topics, the machine's socket, blobs."""

import io
import random
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from backports import zstd
from securesystemslib.formats import encode_canonical
from tuf.api.metadata import Metadata, TargetFile

from edgewright.agent.agreement import Seen, Standing
from edgewright.agent.certificates import read_certificates, verify_granted
from edgewright.agent.confidential import ContentKeys
from edgewright.agent.devicekey import DeviceKey
from edgewright.agent.fetcher import MAX_METADATA_BYTES, MetadataFetcher, MissingFile, TopicReader, inflate
from edgewright.agent.patches import decoded
from edgewright.agent.qualificationorder import Accepted, verify_qualification
from edgewright.agent.runner.artifacts import read_golden
from edgewright.agent.trust import Director, ImageRepository
from edgewright.controller.compiler.patches import encode_patch
from edgewright.controller.confidential.wrapping import wrap
from edgewright.controller.identity.authority import CertificateAuthority
from edgewright.controller.identity.requests import certs_only
from edgewright.wire import cell, messages, topics
from edgewright.wire.assignment import Orders, TargetCustom
from edgewright.wire.encryption import wrapping_info
from edgewright.wire.histograms import SCHEMAS, Histogram
from edgewright.wire.manifest import GoldenVectors, decode_manifest, encode_manifest, split_blob
from edgewright.wire.moments import Moments
from edgewright.wire.patching import SEGMENT_BYTES
from edgewright.wire.sealed import seal, unseal
from simulators.releases import GOLDEN, make_manifest, random_artifact
from simulators.repository import DEVICE, TARGET, RepositorySimulator
from tests.attacks.stage import file_of
from tests.devicekeys import verifier
from tests.fuzz.target import Prepared

ARTIFACT = random_artifact(1, 4000)


def released() -> tuple[RepositorySimulator, str]:
    """A repository with one release, and its path."""
    simulator = RepositorySimulator()
    return simulator, simulator.release(make_manifest(1, ARTIFACT), ARTIFACT, GOLDEN)


def downward() -> Prepared:
    """Acknowledgement and hint."""
    seeds: list[messages.Downward] = [
        messages.Ack(stream="ab" * 16, through=9),
        messages.Head(root=3),
    ]
    return Prepared(messages.decode_down, [messages.encode(message) for message in seeds])


def sealed() -> Prepared:
    """The envelope, and the body behind a signature that verifies."""
    key = DeviceKey.generate()
    body = messages.encode(messages.Want(device="robot-1", sent_at=1.0, chunks=("0" * 64,)))
    good = seal(body, "up", key.sign)
    verify = verifier(key)

    def parse(data: bytes) -> object:
        unseal(data, "up", verify)
        return messages.decode_up(unseal(data, "up", lambda _data, _signature: True))

    return Prepared(parse, [good, seal(body, "down", key.sign)])


def head() -> Prepared:
    """The hint, as the fetcher takes it before it asks for a root."""
    simulator, _ = released()
    good = simulator.topics.retained[topics.head()]
    fetcher = MetadataFetcher(TopicReader(simulator.topics), seconds=0.0)

    def parse(data: bytes) -> object:
        simulator.topics.retained[topics.head()] = data or b"\0"
        fetcher.begin()
        try:
            return fetcher.fetch("1.root.json")
        except MissingFile:
            return None

    return Prepared(parse, [good])


def envelope() -> Prepared:
    """The compressed file around any metadata."""
    simulator, _ = released()
    bomb = zlib.compress(bytes(6_000_000))
    return Prepared(
        lambda data: inflate(data, MAX_METADATA_BYTES), [simulator.topics.retained[topics.timestamp()], bomb]
    )


def metadata() -> Prepared:
    """A refresh that meets one changed metadata file; the first byte says which."""
    simulator, path = released()
    simulator.rotate_root()
    honest = dict(simulator.topics.retained)
    newest = [file_of(simulator, role) for role in ("snapshot", "targets", "garment-packing", "root")]
    names = [topics.timestamp(), *newest]
    contents = [zlib.decompress(honest[name]) for name in names]
    reader = TopicReader(simulator.topics)

    def parse(data: bytes) -> object:
        name = names[data[0] % len(names)] if data else names[0]
        simulator.topics.retained = {**honest, name: zlib.compress(data[1:], level=1)}
        with tempfile.TemporaryDirectory() as folder:
            fetcher = MetadataFetcher(reader, seconds=0.0)
            repository = ImageRepository(Path(folder), simulator.image_root, fetcher)
            return repository.refresh(time.time(), path)

    return Prepared(parse, [bytes([number]) + content for number, content in enumerate(contents)])


def assignment() -> Prepared:
    """A director document as it comes."""
    simulator, path = released()
    director = Director(simulator.director_root)
    return Prepared(director.read, [simulator.sign_assignment(path), simulator.director_root])


def order() -> Prepared:
    """An order to measure candidates as it comes."""
    simulator, path = released()
    director = Director(simulator.director_root)
    good = simulator.order_qualification(candidate(simulator))
    return Prepared(lambda data: director.inspect_order(data, 0), [good, simulator.sign_assignment(path)])


def signed_assignment() -> Prepared:
    """What lies behind the director's signature: somebody who holds the key signs nonsense."""
    simulator, path = released()
    director = Director(simulator.director_root)
    return behind_signature(simulator, simulator.sign_assignment(path), director.read)


def signed_order() -> Prepared:
    """What lies behind the director's signature on an order, held against what a device knows."""
    simulator, _ = released()
    director = Director(simulator.director_root)
    standing = Standing(DEVICE, TARGET, 0, "", time.time(), {}, Seen(1, 1))

    def read(raw: bytes) -> object:
        return verify_qualification(director.inspect_order(raw, 0).order, standing, Accepted())

    return behind_signature(simulator, simulator.order_qualification(candidate(simulator)), read)


def candidate(simulator: RepositorySimulator) -> TargetFile:
    """What an order names."""
    return simulator.propose("int8", make_manifest(9, ARTIFACT), ARTIFACT, GOLDEN)


def behind_signature(
    simulator: RepositorySimulator, good: bytes, read: Callable[[bytes], object]
) -> Prepared:
    """Reads a director's document whose signed part is what the fuzzer made."""
    signed: Metadata[Any] = Metadata.from_bytes(good)
    (signer,) = signers(simulator, "director")

    def parse(data: bytes) -> object:
        try:
            document = msgspec.json.decode(data)
            canonical = canonical_json(document)
        except Exception:  # noqa: BLE001 - what cannot be signed is not the target's business
            return None
        signature = signer.sign(canonical).to_dict()
        return read(msgspec.json.encode({"signatures": [signature], "signed": document}))

    return Prepared(parse, [canonical_json(signed.signed.to_dict())])


def canonical_json(document: Any) -> bytes:
    """What tuf signs."""
    return (encode_canonical(document) or "").encode()


def signers(simulator: RepositorySimulator, role: str) -> tuple[Any, ...]:
    """Keys of a role of the simulator."""
    keys: Any = simulator._keys[role]
    return tuple(keys) if isinstance(keys, (tuple, list)) else (keys,)


def manifest() -> Prepared:
    """A manifest with its chunk index; what is taken can be written again."""
    base = random_artifact(2, 300_000)
    patched = make_manifest(2, ARTIFACT, patches=((base, b"patch"),))

    def parse(data: bytes) -> object:
        return encode_manifest(decode_manifest(data))

    return Prepared(parse, [encode_manifest(make_manifest(1, base)), encode_manifest(patched)])


def patch() -> Prepared:
    """A patch of two segments over a known base."""
    base = random.Random(1).randbytes(SEGMENT_BYTES + 2000)
    result = base[:1500] + random.Random(2).randbytes(500) + base[2000:]

    def parse(data: bytes) -> list[bytes]:
        return list(decoded(io.BytesIO(base), len(base), io.BytesIO(data), len(result)))

    return Prepared(parse, [encode_patch(base, result), zstd.compress(base[:2000])])


def golden() -> Prepared:
    """Golden vectors, as the qualification reads them from the store."""
    folder = tempfile.TemporaryDirectory()
    path = Path(folder.name) / "golden"

    described = make_manifest(1, ARTIFACT)

    def parse(data: bytes, _folder: object = folder) -> object:
        path.write_bytes(data)
        return read_golden(path, described, b"")

    return Prepared(parse, [GOLDEN, msgspec.msgpack.encode(GoldenVectors(4, bytes(64), bytes(32)))])


def content_key() -> Prepared:
    """A wrapped content key out of an assignment."""
    key = DeviceKey.generate()
    custom = TargetCustom("m", "t", 1, 1, confidential=True)
    orders = Orders("robot-1", 1.0, 1, 1, 1)
    keys = ContentKeys("robot-1", lambda: [key])
    good = wrap(bytes(32), key.public_der(), wrapping_info("m", 1, "robot-1"))

    def parse(data: bytes) -> object:
        text = data.decode("latin-1")
        return keys.unwrap(custom, msgspec.structs.replace(orders, content_key=text))

    return Prepared(parse, [good.encode()])


def granted_certificates() -> Prepared:
    """What the HTTPS door answers a device that enrols or renews."""
    key = DeviceKey.generate()
    with tempfile.TemporaryDirectory() as folder:
        authority = CertificateAuthority(Path(folder) / "ca")
        authority.ensure()
        root = authority.root_pem.encode()
        issued = authority.issue_device("robot-1", key.private.public_key())
        own, others = certs_only([issued.certificate]), certs_only(authority.authorities)

    def parse(data: bytes) -> object:
        first, _, rest = data.partition(b"|")
        return verify_granted([*read_certificates(first), *read_certificates(rest)], root, key, "robot-1")

    return Prepared(parse, [own + b"|" + others])


def cell_stream() -> Prepared:
    """The machine's socket, in two pieces."""
    frame = cell.Frame(item="i", deadline_ms=5.0, shape=(2, 2, 3), pixels=bytes(12))
    outcome = cell.Outcome(item="i", truth="Bag")

    def parse(data: bytes) -> object:
        inbox = cell.Inbox()
        return inbox.feed(data[: len(data) // 2]) + inbox.feed(data[len(data) // 2 :])

    return Prepared(parse, [cell.encode(frame), cell.encode(outcome) + cell.encode(frame)])


def topic_names() -> Prepared:
    """Topics and the names in them."""

    def parse(data: bytes) -> object:
        name = data.decode("utf-8", "replace")
        kind, rest = name[:1], name[1:]
        parsers = {"u": topics.parse_up, "c": topics.parse_chunk, "m": topics.metadata, "k": topics.chunk}
        return parsers.get(kind, topics.check_device_id)(rest)

    up, chunk = topics.up("robot-1", "window"), topics.chunk(split_blob(ARTIFACT)[0].sha256)
    return Prepared(parse, [f"u{up}".encode(), f"c{chunk}".encode(), b"mtimestamp.json", b"drobot-1"])


def histogram() -> Prepared:
    """A packed histogram out of a window."""
    seeds = []
    for schema in SCHEMAS:
        full = Histogram(schema)
        for number in range(40):
            full.add(number / 40)
        seeds.append(full.pack())
    return Prepared(lambda data: Histogram.unpack(data).quantile(0.5), seeds)


def moments() -> Prepared:
    """Packed moments of an embedding out of a window."""
    few, many = Moments(), Moments()
    few.add([0.5, -0.25, 0.1, 0.0, -0.1, 0.2, 0.0, 0.05])
    many.add_many([(row % 7) / 8 - column / 9 for column in range(8)] for row in range(40))

    def parse(data: bytes) -> object:
        read = Moments.unpack(data)
        return read.mean(), read.covariance()

    return Prepared(parse, [few.pack(), many.pack(), Moments().pack()])
