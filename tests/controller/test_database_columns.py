"""A data folder that is older than a column: it opens, and its rows have the column's empty value."""

from pathlib import Path

from edgewright.controller.database.engine import Database
from edgewright.controller.database.tables import Device, EnrolmentToken


def test_columns_that_came_later_are_added(tmp_path: Path) -> None:
    """Rows of a release without these columns are read by this one, with nothing lost."""
    db = Database.in_folder(tmp_path)
    db.create()
    with db.session() as session:
        session.add(Device(id="r1", target="t", counter=7))
        session.add(EnrolmentToken(sha256="s", expires=1.0, tags={"site": "lyon"}))
    with db.engine.begin() as connection:
        for column in ("counter", "public_key", "suspicion", "certificate_expires"):
            connection.exec_driver_sql(f"ALTER TABLE device DROP COLUMN {column}")
        connection.exec_driver_sql("ALTER TABLE enrolmenttoken DROP COLUMN tags")
    db.create()
    with db.reading() as session:
        device, token = session.get(Device, "r1"), session.get(EnrolmentToken, "s")
        assert device is not None
        assert token is not None
        found = (device.target, device.counter, device.public_key, device.suspicion, token.tags)
        assert found == ("t", 0, b"", "", {})
    db.close()
