"""Every parser that takes bytes from outside, by name: what is fuzzed, and what it may answer."""

from typing import Final

from edgewright.controller.errors import ControllerError
from edgewright.wire.errors import (
    DeviceError,
    EdgewrightError,
    MessageError,
    RepositoryError,
    TransferError,
)
from tests.fuzz import controller_targets as controller
from tests.fuzz import device_targets as device
from tests.fuzz.target import Target

TARGETS: Final[dict[str, Target]] = {
    "upward": Target(controller.upward, (MessageError,), 20),
    "downward": Target(device.downward, (MessageError,)),
    "sealed": Target(device.sealed, (MessageError,)),
    "head": Target(device.head, (MessageError, RepositoryError, TransferError)),
    "envelope": Target(device.envelope, (RepositoryError,)),
    "metadata": Target(device.metadata, (RepositoryError, TransferError), 1),
    "assignment": Target(device.assignment, (RepositoryError,), 5),
    "signed-assignment": Target(device.signed_assignment, (RepositoryError,), 5),
    "order": Target(device.order, (RepositoryError,), 5),
    "signed-order": Target(device.signed_order, (MessageError, RepositoryError), 5),
    "manifest": Target(device.manifest, (MessageError,), 20),
    "patch": Target(device.patch, (TransferError,)),
    "golden": Target(device.golden, (EdgewrightError,), 5),
    "cell": Target(device.cell_stream, (MessageError,)),
    "topics": Target(device.topic_names, (MessageError,)),
    "histogram": Target(device.histogram, (MessageError,)),
    "moments": Target(device.moments, (MessageError,)),
    "content-key": Target(device.content_key, (RepositoryError,), 5),
    "granted-certificates": Target(device.granted_certificates, (DeviceError,), 5),
    "model-toml": Target(controller.model_toml, (ControllerError,)),
    "certificate-request": Target(controller.certificate_request, (ControllerError,)),
    "signed-statement": Target(controller.signed_statement, (ControllerError,)),
    "model-signature": Target(controller.model_signature, (ControllerError,), 5),
    "signing-request": Target(controller.signing_request, (ControllerError,)),
    "audit-head": Target(controller.audit_head, (ControllerError,)),
}
