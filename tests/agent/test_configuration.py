"""What agent.toml may say: each setting that passes works, and each that cannot work is refused by name."""

from pathlib import Path

import pytest

from edgewright.agent.configuration import read_settings
from edgewright.wire.errors import ConfigurationError

SOURCE = '[source]\nkind = "folder"\nplace = "/pictures"\n'


def write(
    folder: Path, more: str = "", door: str = "https://plant.example:8443", host: str = "h.example"
) -> Path:
    """A configuration with some settings of its own."""
    path = folder / "agent.toml"
    path.write_text(
        f'device = "press-7"\ntarget = "t"\ndata = "/data"\ndoor = "{door}"\n'
        f'[broker]\nhost = "{host}"\nport = 8883\n{more}'
    )
    return path


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ("[line]\nwindow_seconds = inf\n", "line.window_seconds"),
        ("[update]\nversion_hours = inf\n", "update.version_hours"),
        ("[update]\nversion_hours = nan\n", "update.version_hours"),
        (SOURCE + "deadline_ms = inf\n", "source.deadline_ms"),
        (SOURCE + "deadline_ms = 20000\n", "source.deadline_ms"),
        (SOURCE + "frames_per_second = inf\n", "source.frames_per_second"),
        (SOURCE + "frozen_difference = inf\n", "source.frozen_difference"),
        (SOURCE + "[[sinks]]\nkind = 'file'\nplace = '/x'\nfile_mb = inf\n", "sinks[0].file_mb"),
        (SOURCE + f"[[sinks]]\nkind = 'file'\nplace = '/x'\nwaiting = {10**20}\n", "sinks[0].waiting"),
    ],
)
def test_numbers_are_finite_and_bounded(tmp_path: Path, more: str, named: str) -> None:
    """A number without an end, or above what a part can work with, is refused and its setting named."""
    with pytest.raises(ConfigurationError) as refused:
        read_settings(write(tmp_path, more))
    assert named in refused.value.sentence.replace("[...]", "[0]")


@pytest.mark.parametrize(
    "door",
    ["https://h:99999", "https://[::1", "ftp://h", "http://h.example", "https://a..b", "https://", "h:1"],
)
def test_a_door_is_an_https_address(tmp_path: Path, door: str) -> None:
    """What nobody can connect to is refused when it is read, not when a connection is made."""
    with pytest.raises(ConfigurationError, match=r"\$\.door"):
        read_settings(write(tmp_path, door=door))


@pytest.mark.parametrize("host", ["a..b", "a b", "https://h", "h:8883", "user@h", "x" * 64])
@pytest.mark.parametrize("broker", ["broker", "local_broker"])
def test_a_host_is_a_name_or_an_address(tmp_path: Path, broker: str, host: str) -> None:
    """A host that no resolver takes is refused for both brokers."""
    of_the_fleet = broker == "broker"
    more = "" if of_the_fleet else f'[local_broker]\nhost = "{host}"\n'
    with pytest.raises(ConfigurationError, match=rf"no host.*\$\.{broker}"):
        read_settings(write(tmp_path, more, host=host if of_the_fleet else "h.example"))


@pytest.mark.parametrize(
    "host", ["h", "plant.example", "192.0.2.7", "2001:db8::1", "fe80::1%eth0", "münchen.example"]
)
def test_every_kind_of_host_passes(tmp_path: Path, host: str) -> None:
    """Names, also international ones, and addresses of both families are hosts."""
    assert read_settings(write(tmp_path, host=host)).broker.host == host


@pytest.mark.parametrize("topic", ["a/#", "+/a", "", "a\\u0000b"])
@pytest.mark.parametrize(
    "table",
    [
        SOURCE + '[[sinks]]\nkind = "topic"\nplace = "{}"\n',
        '[source]\nkind = "topic"\nplace = "{}"\n',
        '[interlock]\nkind = "topic"\nplace = "{}"\n',
    ],
)
def test_topics_are_exact(tmp_path: Path, table: str, topic: str) -> None:
    """Wildcards are refused: nothing can be published to them, and the link delivers exact topics only."""
    with pytest.raises(ConfigurationError):
        read_settings(write(tmp_path, table.replace("{}", topic)))
    assert read_settings(write(tmp_path, table.replace("{}", "cell/a"))).device


@pytest.mark.parametrize("name", ["nocolon", "module:", ":take", "a.b:c.d", "a-b:c", "a:b:c"])
def test_a_callback_has_a_module_and_a_function(tmp_path: Path, name: str) -> None:
    """Anything but ``package.module:function`` is refused."""
    with pytest.raises(ConfigurationError, match=r"package\.module:function"):
        read_settings(write(tmp_path, f'{SOURCE}[[sinks]]\nkind = "callback"\nplace = "{name}"\n'))


@pytest.mark.parametrize("kind", ["camera", "video", "folder", "rtsp"])
def test_an_address_belongs_to_a_network_camera(tmp_path: Path, kind: str) -> None:
    """Addresses are for rtsp only, which takes nothing else; none is repeated, for it may hold a password."""
    place = "user:hush@camera.example/stream" if kind == "rtsp" else "rtsp://user:hush@camera.example/stream"
    with pytest.raises(ConfigurationError, match=rf"{kind}") as refused:
        read_settings(write(tmp_path, f'[source]\nkind = "{kind}"\nplace = "{place}"\n'))
    assert "hush" not in str(refused.value)
