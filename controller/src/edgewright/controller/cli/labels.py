"""``edgewright labels ...``: bring files of labels, and see how far the looking has come."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from edgewright.controller.cli.client import PART_BYTES, connect
from edgewright.controller.cli.options import AsJson, Data, Url
from edgewright.controller.cli.output import console, print_json, print_table, version
from edgewright.controller.errors import InvalidRequestError
from edgewright.controller.web.words import NONE, day, percent, plural

app = typer.Typer(no_args_is_help=True, help="Bring labels that others know, and see what people labelled.")

ModelName = Annotated[str, typer.Argument(help="Name of the model.")]


@app.command("import")
def import_labels(
    model: ModelName,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="CSV in UTF-8 with the columns device, item and truth.")
    ],
    source: Annotated[str, typer.Option(help="Who says so: a name for the program or the list.")],
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Bring a file of labels. Bringing it again changes nothing; one that cannot be read changes nothing."""
    try:
        length = file.stat().st_size
        with connect(url, data) as client:
            receipt = client.post_file(f"/models/{model}/labels.csv", _parts(file), length, source=source)
    except OSError as error:
        raise InvalidRequestError(f"{file} cannot be read: {error.strerror}.") from error
    if as_json:
        print_json(receipt)
        return
    for sentence in _sentences(receipt):
        console().print(sentence, soft_wrap=True)


def _parts(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while part := opened.read(PART_BYTES):
            yield part


def _sentences(receipt: dict[str, Any]) -> Iterator[str]:
    told = plural(receipt["told"], "label")
    yield (
        f"{told}: {receipt['joined']} joined, {receipt['unknown_items']} wait for their sample, "
        f"{receipt['repeated']} repeated, {receipt['changed']} changed, {receipt['refused']} refused."
    )
    for refusal in receipt["refusals"]:
        yield f"Line {refusal['place']}: {refusal['why']}"
    if receipt["new_classes"]:
        named = ", ".join(f"{name} ({n})" for name, n in receipt["new_classes"].items())
        yield f"Classes that the newest version does not know: {named}."


@app.command("status")
def status(model: ModelName, url: Url = None, data: Data = None, as_json: AsJson = False) -> None:
    """Show how many frames wait and were looked at, by whom, and how sources hold against it."""
    with connect(url, data) as client:
        found = client.get(f"/models/{model}/labels")
    if as_json:
        print_json(found)
        return
    console().print(
        f"{found['waiting_random']} random frames and {found['waiting_other']} others wait for a person.",
        soft_wrap=True,
    )
    print_table(
        ("version", "random looks>", "wrong>", "error rate", "cannot tell>", "other looks>", "to go>"),
        (
            (
                version(v["version"]),
                str(v["random"]),
                str(v["wrong"]),
                _rate(v),
                str(v["cannot_tell"]),
                str(v["other"]),
                str(v["needed"]),
            )
            for v in found["versions"]
        ),
        f"Nobody has looked at a frame of {model}. Label some on its page.",
    )
    print_table(
        ("source", "labels>", "waiting>", "as people saw", "believed", "why"),
        (
            (
                s["source"],
                str(s["labels"]),
                str(s["unjoined"]),
                f"{s['agree']} of {s['compared']}",
                "yes" if s["believed"] else "no",
                s["sentence"],
            )
            for s in found["sources"]
        ),
        "No source has told a label.",
    )
    if found["people"]:
        people = ((p["name"], str(p["labels"]), day(p["last"])) for p in found["people"])
        print_table(("person", "labels>", "last"), people, "")


def _rate(looks: dict[str, Any]) -> str:
    if looks["rate"] is None:
        return NONE
    return f"{percent(looks['rate'])} ({percent(looks['low'])} to {percent(looks['high'])})"
