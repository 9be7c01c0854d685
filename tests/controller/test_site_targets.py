"""The site's own table of targets: what it adds and replaces, and how one that is wrong is refused."""

from pathlib import Path

import msgspec
import pytest

from edgewright.controller import matching
from edgewright.controller.compiler.protocol import CheckRequest
from edgewright.controller.compiler.targets import SHIPPED, find_target, in_force, site_table
from edgewright.controller.compiler.worker import run_check
from edgewright.controller.database.tables import Device
from edgewright.controller.errors import TargetTableError, UnknownTargetError, UnqualifiedTargetError
from tests.controller.small_model import spec, write_folder
from tests.controller.test_matching import SITE, VNNI


def test_a_site_brings_targets_of_its_own(tmp_path: Path) -> None:
    """What the data folder's table has stands before the shipped rows and replaces one of the same name; a
    described target becomes one that models are compiled for.
    """
    assert site_table(tmp_path) is SHIPPED
    own = SITE + SITE.replace("target.press", "target.x86_64-cuda").replace("4000", "1")
    own += SITE.replace("target.press", "target.x86_64-ort-cpu").replace("4000", "2")
    own += '[described.aarch64-litert]\nsummary = "s"\nmachine = "aarch64"\nmissing = "our board is away"\n'
    (tmp_path / "targets.toml").write_text(own)
    table = site_table(tmp_path)
    assert list(table.target)[:4] == ["press", "x86_64-cuda", "x86_64-ort-cpu", "x86_64-ort-cpu-fp32"]
    assert table.target["x86_64-ort-cpu"].memory_mb == 2
    assert "x86_64-cuda" not in table.described
    with pytest.raises(UnqualifiedTargetError, match="our board is away"):
        table.find("aarch64-litert")
    with in_force(table):
        assert find_target("press").name == "press"
    with pytest.raises(UnknownTargetError):
        find_target("press")
    assert matching.judge(Device(id="r1", target="x86_64-ort-cpu-fp32", **VNNI), table.target).could == (
        "press",
        "x86_64-cuda",
        "x86_64-ort-cpu",
        "x86_64-ort-cpu-fp32",
    )


def test_a_check_in_a_child_knows_the_sites_targets(tmp_path: Path) -> None:
    """A model for a target of the site passes the check with the site's table, and is refused without it; a
    wrong table is the check's own refusal.
    """
    model = spec()
    folder = write_folder(tmp_path / "model", msgspec.structs.replace(model, targets=("press",)))
    table = tmp_path / "targets.toml"
    table.write_text(SITE)
    assert run_check(CheckRequest(str(folder), targets_file=str(table))).model == model.model.name
    with pytest.raises(UnknownTargetError, match="press"):
        run_check(CheckRequest(str(folder), targets_file=str(tmp_path / "none.toml")))
    table.write_text("[")
    with pytest.raises(TargetTableError):
        run_check(CheckRequest(str(folder), targets_file=str(table)))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("[target", "is no TOML"),
        (SITE.replace("memory_mb", "memory_gb"), r"\[target.press\]: .* unknown field `memory_gb`"),
        (SITE.replace("machine = ", "# "), r"\[target.press\]: .* missing required field `machine`"),
        (SITE.replace('"avx2"', '"avx9"'), r"\[target.press\] cpu: 'avx9' is none of sse4"),
        (SITE.replace('"onnxruntime"', '"torch"'), r"\[target.press\]: Invalid enum value 'torch'"),
        (SITE.replace('"2.0"', '"1.0"'), r"\[target.press\] runtime: '1.24' to below '1.0' is no range"),
        (SITE.replace('"1.24"', '"first"'), r"\[target.press\] runtime: 'first' to below"),
        (SITE.replace('["fp32"]', "[]"), r"\[target.press\] precisions: at least one"),
        (SITE.replace('["fp32"]', '["int4"]'), r"\[target.press\]: Invalid enum value 'int4'"),
        (SITE.replace("4000", "-1"), r"\[target.press\]: a limit is not below 0"),
        (SITE.replace("target.press", 'target."../press"'), "a name is of letters"),
        (SITE + 'name = "other"', "its name stands in the brackets"),
        ("target = 1", "`target` is no table of tables"),
        ("[target]\npress = 1", r"\[target.press\]: Expected `object`"),
        (
            SITE + '[described.press]\nsummary = "s"\nmachine = "m"\nmissing = "m"\n',
            "press stands in it as a target and as one that is described",
        ),
        ("[other]\n", "and no 'other'"),
    ],
)
def test_a_wrong_table_is_refused_by_name(tmp_path: Path, wrong: str, said: str) -> None:
    """A site's table that is wrong is a numbered error whose sentence names the entry."""
    (tmp_path / "targets.toml").write_text(wrong)
    with pytest.raises(TargetTableError, match=said):
        site_table(tmp_path)
