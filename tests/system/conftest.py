"""One plant for the tests of this folder: each leaves it running, with both robots on a committed version."""

from collections.abc import Iterator

import pytest

from tests.system.plant import Plant


@pytest.fixture(scope="session")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """A controller and two robots of two targets, on version 1."""
    started = Plant(tmp_path_factory.mktemp("plant"))
    try:
        started.add_robot("r1", "x86_64-ort-cpu")
        started.add_robot("r2", "x86_64-ort-cpu-fp32")
        version = started.push()
        started.wait("version 1", lambda: started.runs(version))
        yield started
    finally:
        started.close()
