"""``edgewright keys``: who may sign what, and getting it signed where the keys are.

``new`` and ``sign`` work on a machine without network and without a data folder. ``init`` works on the data
folder of a controller that does not run yet, and so do ``requests``, ``export`` and ``import`` as long as its
first root waits for signatures. Everything else asks the running controller.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from edgewright.controller.cli.client import connect
from edgewright.controller.cli.options import AsJson, Data, Url
from edgewright.controller.cli.output import console, print_json, print_table
from edgewright.controller.errors import InvalidRequestError, KeyStoreError, UnknownSigningRequestError

KINDS: Final = {"ed25519": "Ed25519", "ecdsa-sha2-nistp256": "P-256"}

app = typer.Typer(no_args_is_help=True, help="Who may sign what: make, change and use signing keys.")

Library = Annotated[
    Path | None,
    typer.Option("--pkcs11", metavar="LIBRARY", help="PKCS#11 library; the PIN is read from EDGEWRIGHT_PIN."),
]
Label = Annotated[str, typer.Option(help="With --pkcs11: label of the token.")]
Number = Annotated[int, typer.Option(help="With --pkcs11: the key's number in the token (CKA_ID).")]
Public = Annotated[list[Path] | None, typer.Option(help="Public key file (.pub) to add; may be repeated.")]
Threshold = Annotated[int, typer.Option(min=0, help="So many of the role's keys have to sign; 0 keeps it.")]
Request = Annotated[str, typer.Argument(metavar="ID", help="Of the request, as `keys requests` lists it.")]
Roles = Annotated[
    list[str],
    typer.Argument(
        metavar="ROLE...", help="root, targets, snapshot, timestamp, release (all models), or a model."
    ),
]
Holders = Annotated[
    list[Path],
    typer.Option(metavar="FILE", help="Where a new key is written, or a .pub file; once for each holder."),
]


@app.command()
def new(
    file: Annotated[Path, typer.Argument(help="Private key to write; the public one is FILE.pub.")],
    p256: Annotated[bool, typer.Option("--p256", help="P-256 instead of Ed25519.")] = False,
    passphrase: Annotated[
        bool, typer.Option("--passphrase", help="Lock the file with the passphrase in EDGEWRIGHT_PIN.")
    ] = False,
    pkcs11: Library = None,
    label: Label = "",
    number: Number = 2,
) -> None:
    """Make a key of your own, or with --pkcs11 write the public part of a key in a token to FILE."""
    from edgewright.controller.trust import ceremony

    if pkcs11 is not None:
        key = ceremony.export_token(pkcs11, label, number, file)
        console().print(f"{file}: public key {key.keyid[:16]}. Give it to whoever changes keys.")
        return
    signer = ceremony.make_key(file, "p256" if p256 else "ed25519", locked=passphrase)
    keyid = signer.public_key.keyid[:16]
    console().print(f"{file}: private key {keyid}, keep it.\n{file}.pub: give it to whoever changes keys.")


@app.command()
def init(
    data: Annotated[Path, typer.Option(help="Data folder of a controller that has not run yet.")],
    root: Holders,
    release: Holders,
    targets: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="As --root; without it the release keys sign targets too."),
    ] = None,
    root_threshold: Annotated[int, typer.Option(min=1)] = 2,
    targets_threshold: Annotated[int, typer.Option(min=1)] = 2,
    release_threshold: Annotated[int, typer.Option(min=1)] = 2,
) -> None:
    """Begin with keys that are not on the controller: write new ones where told, or take public ones."""
    from edgewright.controller.datadir import DataFolder
    from edgewright.controller.trust import ceremony

    folder = DataFolder.open(data)
    try:
        ceremony.verify_unbegun(data)
        holders = {path: ceremony.Holder(path) for path in dict.fromkeys([*root, *release, *(targets or ())])}
        waiting = ceremony.begin(
            data,
            [holders[path] for path in root],
            [holders[path] for path in targets or release],
            [holders[path] for path in release],
            (root_threshold, targets_threshold, release_threshold),
        )
    finally:
        folder.close()
    for path, holder in holders.items():
        made = "made" if holder.signer else "taken"
        console().print(f"{made}  {holder.key.keyid[:16]}  {path}", soft_wrap=True)
    if waiting is None:
        console().print(f"{data} is ready: take the private keys away, then `edgewright up --data {data}`.")
    else:
        console().print(
            f"Request {waiting.id} waits for {waiting.short_of()}: `edgewright keys export {waiting.id} FILE "
            f"--data {data}`.",
            soft_wrap=True,
        )


@app.command()
def hold(
    role: Annotated[str, typer.Argument(help="Whose key it is: release, a model, or a role of TUF.")],
    data: Annotated[Path, typer.Option(help="Data folder of the controller; it may run.")],
    key: Annotated[Path | None, typer.Option(help="Private key file (PEM); it is copied.")] = None,
    pkcs11: Library = None,
    label: Label = "",
    number: Number = 2,
) -> None:
    """Let the controller sign with a key by itself, where a role's rule shall be met without people.

    For a key in a token the controller needs EDGEWRIGHT_PIN in its environment.
    """
    from edgewright.controller.trust import ceremony

    _verify_one(key, pkcs11)
    kept = ceremony.hold(data, role, key or ceremony.token_reference(pkcs11 or Path(), label, number))
    console().print(f"The controller of {data} signs with {kept.keyid[:16]} where {role} asks for it.")


@app.command()
def show(url: Url = None, data: Data = None, as_json: AsJson = False) -> None:
    """List which keys sign what, how many of them have to, and where they are."""
    with connect(url, data) as client:
        found = client.get("/keys")
    if as_json:
        print_json(found)
        return
    print_table(
        ("role", "key", "kind", "store", "threshold", "document ends"),
        (
            (
                row["role"],
                row["keyid"][:12],
                KINDS.get(row["scheme"], row["scheme"]),
                row["store"],
                f"{row['threshold']} of {row['of']}",
                datetime.fromtimestamp(row["expires"], UTC).date().isoformat() if row["expires"] else "–",
            )
            for row in found["keys"]
        ),
        "There is none.",
    )
    if found["laboratory"]:
        console().print(
            "LABORATORY KEYS: the controller made them by itself, and they are all on its machine. Do not "
            "use them in a factory: replace them with `edgewright keys rotate`.",
            soft_wrap=True,
        )


@app.command()
def add(
    roles: Roles, public: Public = None, threshold: Threshold = 0, url: Url = None, data: Data = None
) -> None:
    """Add keys to roles, or give a model keys of its own."""
    _order(url, data, roles=roles, add=_read(public), threshold=threshold)


@app.command()
def rotate(
    roles: Roles,
    public: Public = None,
    threshold: Threshold = 0,
    recover: Annotated[
        bool,
        typer.Option("--recover", help="With snapshot and timestamp: let their versions begin low again."),
    ] = False,
    url: Url = None,
    data: Data = None,
) -> None:
    """Replace all keys of roles; those of snapshot and timestamp are made by the controller."""
    online = {"snapshot", "timestamp"} >= set(roles)
    body = {"roles": roles, "add": _read(public), "threshold": threshold, "replace": True}
    _order(url, data, **body, generate=online, recover=recover)


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Beginning of the key's id.")],
    role: Annotated[list[str] | None, typer.Option(help="Only in this role; else in every one.")] = None,
    public: Public = None,
    threshold: Threshold = 0,
    url: Url = None,
    data: Data = None,
) -> None:
    """Take a key out of its roles; --public puts another in its place."""
    _order(url, data, roles=role or [], drop=[key], add=_read(public), threshold=threshold)


@app.command(name="requests")
def list_requests(url: Url = None, data: Data = None, as_json: AsJson = False) -> None:
    """List what waits for signatures, and what it would change."""
    waiting = _unbegun(data)
    if waiting is not None:
        found = [{"id": r.id, "waits_for": r.short_of(), "summary": list(r.summary)} for r in waiting]
    else:
        with connect(url, data) as client:
            found = client.get("/signing")
    if as_json:
        print_json(found)
        return
    for request in found:
        console().print(f"{request['id']}  waits for {request['waits_for']}", soft_wrap=True)
        for line in request["summary"]:
            console().print(f"    {line}", soft_wrap=True)
    if not found:
        console().print("Nothing waits for signatures.")


@app.command()
def export(
    number: Request,
    file: Annotated[Path, typer.Argument(help="Where the request is written; an old one is overwritten.")],
    url: Url = None,
    data: Data = None,
) -> None:
    """Write a request to a file, to be carried to the keys."""
    from edgewright.controller.trust import requests

    waiting = _unbegun(data)
    if waiting is not None:
        request = next((request for request in waiting if request.id == number), None)
        if request is None:
            raise UnknownSigningRequestError(f"No request {number!r} waits for signatures.")
        text = requests.encode(request)
    else:
        with connect(url, data) as client:
            text = json.dumps(client.get(f"/signing/{number}")).encode()
    try:
        file.write_bytes(text)
    except OSError as error:
        raise KeyStoreError(f"{file} cannot be written: {error.strerror}.") from error
    console().print(
        f"{file}: have it signed with `edgewright keys sign {file} --key KEY.pem`.", soft_wrap=True
    )


@app.command()
def sign(
    file: Annotated[Path, typer.Argument(help="Request, as `keys export` wrote it; it is signed in place.")],
    key: Annotated[Path | None, typer.Option(help="Private key file (PEM).")] = None,
    pkcs11: Library = None,
    label: Label = "",
    number: Number = 2,
    known: Annotated[
        list[Path] | None,
        typer.Option(help="Public key (.pub) of a holder whose signatures you believe; may be repeated."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Show what a request changes and sign it; needs no network and no controller."""
    from edgewright.controller.trust import ceremony

    _verify_one(key, pkcs11)
    request = ceremony.read_request(file)
    signer = ceremony.signer_of(key) if key else ceremony.token_signer(pkcs11 or Path(), label, number)
    ceremony.verify_asked(request, signer)
    believed = [signer.public_key, *(ceremony.public_key(path) for path in known or [])]
    for line in ceremony.describe(request, believed):
        console().print(line, soft_wrap=True)
    if not yes:
        typer.confirm(f"Sign this with the key {signer.public_key.keyid[:16]}?", abort=True)
    signed = ceremony.sign(file, request, signer)
    left = f"waits for {signed.short_of()}" if signed.missing() else "has all its signatures"
    console().print(
        f"{file} is signed and {left}: bring it back with `edgewright keys import {file}`.", soft_wrap=True
    )


@app.command(name="import")
def import_file(
    file: Annotated[Path, typer.Argument(help="Signed request.")], url: Url = None, data: Data = None
) -> None:
    """Bring a signed request back; it is committed when every role has its threshold."""
    from edgewright.controller.trust import ceremony, requests

    request = ceremony.read_request(file)
    if _unbegun(data) is not None and data is not None:
        left = ceremony.accept(data, request)
        said = (
            f"It waits for {left.short_of()}." if left else f"{data} is ready: `edgewright up --data {data}`."
        )
        console().print(said, soft_wrap=True)
        return
    with connect(url, data) as client:
        said = client.post(f"/signing/{request.id}", json.loads(requests.encode(request)))["sentence"]
    console().print(said, soft_wrap=True)


def _verify_one(key: Path | None, pkcs11: Path | None) -> None:
    if (key is None) == (pkcs11 is None):
        raise InvalidRequestError("Name one key: --key FILE or --pkcs11 LIBRARY.")


def _unbegun(data: Path | None) -> "Sequence[Any] | None":
    """What waits in a data folder whose first root waits for signatures; None where a controller is asked."""
    from edgewright.controller.trust import ceremony

    return ceremony.unbegun(data) if data is not None else None


def _order(url: str | None, data: Path | None, **body: Any) -> None:
    with connect(url, data) as client:
        made = client.post("/keys", body)
    console().print(made["sentence"], soft_wrap=True)
    if made["request"]:
        number = made["request"]
        console().print(f"Export it with `edgewright keys export {number} FILE`.", soft_wrap=True)


def _read(paths: list[Path] | None) -> list[str]:
    """Public keys for an order; a private key is refused before it leaves this machine.

    Raises:
        KeyStoreError: a file cannot be read, or is no public key.
    """
    from edgewright.controller.trust import ceremony

    return [ceremony.public_text(path) for path in paths or ()]
