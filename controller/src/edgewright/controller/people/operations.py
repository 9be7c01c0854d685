"""What may be done here and which role it takes: the one table.

Each route, page and order names its row with ``need("<subject>.<verb>")`` (``api.access``); a route that
names none is refused by a test. The row's name is also the action in the audit log, and what a page asks
before it offers a button. ``changes`` marks what the audit log has to know of: such a route is entered by
itself, whether it was done or refused.

``role`` None asks for no token of a person: what lies open to everybody, and where a device shows its own
one-time token or certificate.
"""

from typing import Final, NamedTuple

from edgewright.controller.people.roles import Role


class Operation(NamedTuple):
    """One row.

    Attributes:
        role: the lowest role that may do it; None where no token is needed.
        what: in words, after "You may".
        changes: whether the audit log has it.
    """

    role: Role | None
    what: str
    changes: bool = False


VIEWER, OPERATOR, ENGINEER, ADMIN = Role.VIEWER, Role.OPERATOR, Role.ENGINEER, Role.ADMIN

OPERATIONS: Final[dict[str, Operation]] = {
    # Open
    "controller.health": Operation(None, "ask whether the controller answers"),
    "page.static": Operation(None, "load style, scripts and the icon"),
    "page.login": Operation(None, "log in with a token", changes=True),
    "page.logout": Operation(None, "log out", changes=True),
    "device.enrol": Operation(None, "take a device in by its one-time token", changes=True),
    "device.renew": Operation(None, "renew a device's certificate by that certificate", changes=True),
    "device.fetch": Operation(None, "fetch published blobs by a device's certificate"),
    "authority.read": Operation(None, "read the authority's certificates and revocation list"),
    # Reading
    "page.read": Operation(VIEWER, "look at the pages"),
    "controller.describe": Operation(VIEWER, "read the description of the API"),
    "person.self": Operation(VIEWER, "ask who you are"),
    "device.read": Operation(VIEWER, "see devices"),
    "model.read": Operation(VIEWER, "see models, versions and their artifacts' figures"),
    "qualification.read": Operation(VIEWER, "see what was measured on devices"),
    "rollout.read": Operation(VIEWER, "see rollouts"),
    "evidence.read": Operation(VIEWER, "see drift, charts and events"),
    "label.read": Operation(VIEWER, "see how many frames were labelled, and what sources told"),
    "broker.read": Operation(VIEWER, "see what lies on the broker"),
    "keys.read": Operation(VIEWER, "see which keys sign for which role"),
    # Running the plant
    "rollout.pause": Operation(OPERATOR, "hold a rollout", changes=True),
    "rollout.resume": Operation(OPERATOR, "go on with a held rollout", changes=True),
    "rollout.abort": Operation(OPERATOR, "end a rollout", changes=True),
    "rollout.rollback": Operation(OPERATOR, "send devices back to what they ran before", changes=True),
    "alarm.close": Operation(OPERATOR, "close an alarm", changes=True),
    "sample.read": Operation(OPERATOR, "look at captured frames"),
    "label.tell": Operation(OPERATOR, "label frames and take labels back", changes=True),
    "label.import": Operation(OPERATOR, "bring files of labels", changes=True),
    "label.export": Operation(OPERATOR, "download labels"),
    "device.revoke": Operation(OPERATOR, "revoke a device", changes=True),
    "enrolment.token": Operation(OPERATOR, "make enrolment tokens", changes=True),
    # Making what it runs
    "blob.read": Operation(ENGINEER, "ask for and download files of versions"),
    "blob.upload": Operation(ENGINEER, "upload files of versions", changes=True),
    "model.push": Operation(ENGINEER, "push a version", changes=True),
    "model.sign": Operation(ENGINEER, "export and import requests for signatures", changes=True),
    "model.export": Operation(ENGINEER, "export artifacts", changes=True),
    "model.withdraw": Operation(ENGINEER, "withdraw a version", changes=True),
    "model.alias": Operation(ENGINEER, "move and remove aliases of versions", changes=True),
    "rollout.create": Operation(ENGINEER, "start a rollout", changes=True),
    "rebuild.start": Operation(ENGINEER, "start a rebuild", changes=True),
    "rebuild.approve": Operation(ENGINEER, "let a rebuilt version go to the line", changes=True),
    "rebuild.cancel": Operation(ENGINEER, "end a rebuild", changes=True),
    "qualification.order": Operation(ENGINEER, "have a version measured on devices", changes=True),
    # Trust
    "device.trust": Operation(ADMIN, "trust a suspicious device again", changes=True),
    "keys.change": Operation(ADMIN, "add, rotate and revoke keys", changes=True),
    "people.read": Operation(ADMIN, "see people and their tokens"),
    "people.add": Operation(ADMIN, "give somebody a token", changes=True),
    "people.renew": Operation(ADMIN, "renew a token", changes=True),
    "people.revoke": Operation(ADMIN, "revoke a token", changes=True),
    "audit.read": Operation(ADMIN, "read the audit log"),
    "audit.export": Operation(ADMIN, "export the audit log with a signed head", changes=True),
}

FOR_SOME_MODELS: Final = frozenset(
    {
        *("rollout.pause", "rollout.resume", "rollout.abort", "rollout.rollback", "rollout.create"),
        *("label.tell", "label.import"),
        *(
            "alarm.close",
            "model.push",
            "model.export",
            "model.withdraw",
            "qualification.order",
            "model.alias",
            "rebuild.start",
            "rebuild.approve",
            "rebuild.cancel",
        ),
        # These name no model and change none by themselves: a blob lies there until a push names it, and a
        # request is committed by what the keys of its role have signed.
        *("blob.upload", "model.sign"),
    }
)
"""The only changes that a token for some models may make; each says of which model it is and verifies it."""
