"""The first boot: a board enrols from one file, once, and spends no token on a file that is wrong."""

import codecs
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.agent.cli import main
from edgewright.agent.configuration import read_settings
from tests.controller.doors import OpenDoor, opened

MORE = """[tags]
line = "a"

[source]
kind = "folder" # the test pictures
place = "/pictures"
[[sinks]]
kind = "file"
place = "/x"
"""


@pytest.fixture
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenDoor]:
    """A controller that enrols."""
    with opened(tmp_path_factory.mktemp("controller")) as door:
        yield door


def write(folder: Path, door: OpenDoor, more: str = MORE, **other: str) -> Path:
    """The file on the boot partition."""
    own = {"controller": door.url, "token": door.token(), "target": "t", "device": "press-7", **other}
    file = folder / "edgewright.toml"
    file.write_text("".join(f'{key} = "{value}"\n' for key, value in own.items() if value) + more)
    return file


def boot(file: Path, data: Path) -> int:
    """Run the command."""
    return main(["first-boot", "--from", str(file), "--data", str(data)])


def test_a_board_enrols_with_all_its_settings(door: OpenDoor, tmp_path: Path) -> None:
    """Device, tags and every other table of the file stand in its configuration afterwards."""
    file = write(tmp_path, door)
    assert boot(file, tmp_path / "data") == 0
    settings = read_settings(tmp_path / "data" / "agent.toml")
    assert (settings.device, settings.tags) == ("press-7", {"line": "a"})
    assert (settings.source.kind, settings.source.place) == ("folder", "/pictures")
    assert [sink.place for sink in settings.sinks] == ["/x"]
    assert "ewe_" not in (tmp_path / "data" / "agent.toml").read_text()


def test_a_second_boot_changes_nothing(door: OpenDoor, tmp_path: Path) -> None:
    """An enrolled board leaves the file alone, even a spent or missing one."""
    file = write(tmp_path, door)
    assert boot(file, tmp_path / "data") == 0
    before = (tmp_path / "data" / "agent.toml").read_bytes()
    file.unlink()
    assert boot(file, tmp_path / "data") == 0
    assert (tmp_path / "data" / "agent.toml").read_bytes() == before


def test_a_board_without_a_name_gets_one(door: OpenDoor, tmp_path: Path) -> None:
    """The name comes from the machine's id, and does not show it."""
    assert boot(write(tmp_path, door, device=""), tmp_path / "data") == 0
    device = read_settings(tmp_path / "data" / "agent.toml").device
    assert device.startswith("board-")
    assert device.removeprefix("board-") not in Path("/etc/machine-id").read_text()


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ("[source]\nkind = 'eye'\n", "eye"),
        ("[colour]\nred = 1\n", "colour"),
        ("[broker]\nhost = 'x'\nport = 1\n", "broker"),
        ("update.day_mb = 5\n", "tables of their own"),
        ("[", "no TOML"),
        ("[source]\nkind = 'camera'\n", "place"),
        ("[interlock]\nkind = 'gpio'\n", "place"),
        ("[update]\nwindows = ['25:00-99:00']\n", "25:00-99:00"),
        ("[[sinks]]\nkind = 'file'\nplace = '/x'\n", "[source]"),
    ],
)
def test_a_wrong_file_spends_no_token(
    door: OpenDoor, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: str, named: str
) -> None:
    """What agent.toml would refuse is refused before the controller is asked, in a sentence that names it."""
    file = write(tmp_path, door, more)
    assert boot(file, tmp_path / "data") == 40
    assert named in capsys.readouterr().err
    file.write_text(file.read_text().removesuffix(more) + MORE)
    assert boot(file, tmp_path / "data") == 0


def test_a_file_may_begin_with_a_byte_order_mark(door: OpenDoor, tmp_path: Path) -> None:
    """What an editor for Windows has saved is read, on the boot partition and as the configuration."""
    file = write(tmp_path, door)
    file.write_bytes(codecs.BOM_UTF8 + file.read_bytes())
    assert boot(file, tmp_path / "data") == 0
    configuration = tmp_path / "data" / "agent.toml"
    configuration.write_bytes(codecs.BOM_UTF8 + configuration.read_bytes())
    assert read_settings(configuration).device == "press-7"


def test_an_address_that_is_none_is_a_sentence(
    door: OpenDoor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A controller's address with a bracket too few is named, and no token is spent."""
    assert boot(write(tmp_path, door, controller="https://[::1"), tmp_path / "data") == 40
    assert "https://[::1" in capsys.readouterr().err


def test_a_missing_file_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a file there is E040."""
    assert boot(tmp_path / "none.toml", tmp_path / "data") == 40
    assert capsys.readouterr().err.startswith("E040 ")
