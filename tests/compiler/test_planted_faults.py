"""Each planted fault is caught, and what is sound beside it passes."""

from pathlib import Path

import pytest

from tests.compiler.planted_faults import FAULTS, Fault
from tests.environments import need_toolchains


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "-"))
def test_a_planted_fault_is_caught(fault: Fault, tmp_path: Path) -> None:
    """The compiler says what is wrong with the one, and nothing of the kind about the other."""
    need_toolchains(*fault.toolchains)
    assert fault.is_caught(tmp_path)
