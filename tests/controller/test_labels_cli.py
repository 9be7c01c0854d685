"""The commands about labels, against an application that listens on loopback."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.controller.cli import main
from tests.controller.labelled_line import MODEL, add_frames, add_line
from tests.controller.parts import TOKEN, Parts, make_parts
from tests.controller.served import served

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    """A controller with captured frames, listening."""
    made = make_parts(tmp_path_factory.mktemp("data"))
    with made.db.session() as session:
        add_line(session)
        add_frames(session, made.blobs, 2)
    with served(made):
        yield made
    made.db.close()


def run(*arguments: str | Path) -> int:
    """The exit status of a command line."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_a_file_is_brought_and_seen_in_the_status(
    parts: Parts, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command says what became of each label, the status counts them, and a bad file ends with E099."""
    monkeypatch.setenv("COLUMNS", "240")
    monkeypatch.setenv("EDGEWRIGHT_TOKEN", TOKEN)
    file = tmp_path / "labels.csv"
    file.write_text("device,item,truth\nrobot-1,random-0,hat\nrobot-1,x,bag\nnobody,y,bag\n")
    command = ("labels", "import", MODEL, file, "--source", "mes", "--data", parts.data)
    assert run(*command) == 0
    said = capsys.readouterr().out
    assert "3 labels: 1 joined, 1 wait for their sample, 0 repeated, 0 changed, 1 refused." in said
    assert "Line 4: There is no device 'nobody'." in said
    assert "does not know: hat (1)." in said
    assert run("labels", "status", MODEL, "--data", parts.data) == 0
    shown = capsys.readouterr().out
    assert "2 random frames and 0 others wait for a person." in shown
    assert "No item of the source was audited yet." in shown
    assert run("labels", "status", MODEL, "--json", "--data", parts.data) == 0
    assert json.loads(capsys.readouterr().out)["sources"][0]["unjoined"] == 1
    file.write_bytes(b"device,item,truth\nrobot-1,a,Gr\xf6\xdfe\n")
    assert run(*command) == 99
    assert "Line 2 is no text in UTF-8" in capsys.readouterr().err
    assert (
        run("labels", "import", MODEL, tmp_path / "none.csv", "--source", "mes", "--data", parts.data) == 99
    )
