"""Numbered errors of the controller; see ``edgewright.wire.errors`` for the rules and the lower numbers.

::

    ControllerError
    |-- SurroundingsError     the machine, its folders and its neighbours          60-69
    |-- HarmError             what `edgewright health` ends with                   19
    |-- ModelError            what was pushed cannot become an artifact            50, 70-79, 98, 119-125
    `-- RequestError          what a person asked for cannot be done               16, 90-118
"""

from edgewright.wire.errors import EdgewrightError


class ControllerError(EdgewrightError):
    """Anything on the controller's side."""


class SurroundingsError(ControllerError):
    """The machine, its folders and its neighbours."""


class DataFolderNewerError(SurroundingsError):
    """The data folder was written by a newer release."""

    number = 60
    remedy = "Start the release that wrote it, or give this one another folder with --data."


class DataFolderBusyError(SurroundingsError):
    """Another controller uses the data folder."""

    number = 61
    remedy = "Stop the other controller or choose another folder with --data."


class DataFolderDamagedError(SurroundingsError):
    """The data folder lacks something or cannot be written."""

    number = 62
    remedy = "Restore it from a backup or check its owner and its free space."


class BrokerStartError(SurroundingsError):
    """The embedded broker does not start."""

    number = 63
    remedy = "Look into broker/nats.log in the data folder; the port may be in use."


class BrokerNotToldError(SurroundingsError):
    """The broker does not know yet who may connect, or still has a connection that should have ended."""

    number = 69
    remedy = "It is tried again by itself; revoke the device again to see whether it is done."


class ControllerUnreachableError(SurroundingsError):
    """No controller answers at the address."""

    number = 64
    remedy = "Start one with `edgewright up --data DIR`, or name it with --url or --data."


class PortInUseError(SurroundingsError):
    """The API's port is taken."""

    number = 65
    remedy = "Choose another with --port."


class KeyStoreError(SurroundingsError):
    """A signing key cannot be used: a file, a PKCS#11 token, or its PIN."""

    number = 66
    remedy = "Name the store that holds it, and give a PIN in EDGEWRIGHT_PIN; see `edgewright keys show`."


class DirectorUnavailableError(SurroundingsError):
    """The process that signs assignments does not answer, or refused to sign."""

    number = 67
    remedy = "Read the sentence; the controller starts the process again, and devices go on meanwhile."


class CertificateAuthorityError(SurroundingsError):
    """The certificate authority's keys or certificates are missing or wrong."""

    number = 68
    remedy = "Restore the folder ca/ of the data folder from its backup."


class ModelError(ControllerError):
    """What was pushed cannot become an artifact."""


class NotAModelError(ModelError):
    """The file is no model of a known format, or it is damaged."""

    number = 70
    remedy = "Push an ONNX or TFLite file, or a folder with model.toml that names one."


class UnknownOperatorError(ModelError):
    """The model uses operators that the runtime does not have."""

    number = 71
    remedy = "Export the model with standard ONNX operators of opset 17."


class InputShapeError(ModelError):
    """The model's input or output is not what model.toml declares."""

    number = 72
    remedy = "Make inputs, preprocessing and labels in model.toml fit the model."


class ModelTomlError(ModelError):
    """model.toml is missing or wrong."""

    number = 73
    remedy = "Correct the named entry; docs/reference/model-toml.md lists all of them."


class UnknownTargetError(ModelError):
    """A target that this controller does not know."""

    number = 74
    remedy = "Choose one that `edgewright targets` lists."


class GateFailedError(ModelError):
    """No candidate passed the parity gate."""

    number = 75
    remedy = "Read the gate's report; allow fp32 for the target or improve the calibration data."


class RecipeError(ModelError):
    """The model's rebuild recipe failed."""

    number = 76
    remedy = "Run the recipe by hand on the exported dataset and correct it."


class BuildInterruptedError(ModelError):
    """The child process that compiles ended before it answered."""

    number = 77
    remedy = "Build the version again; if it ends again, the model may need more memory than there is."


class ModelTooLargeError(ModelError):
    """The model is larger than a release can hold."""

    number = 78
    remedy = "An artifact may have 240 MB: make the model smaller, or allow int8 for its targets."


class ToolchainMissingError(ModelError):
    """A compiler or runtime that a target needs is not installed."""

    number = 120
    remedy = "Install it with `edgewright toolchain install NAME`, or leave its targets out of model.toml."


class ToolchainFailedError(ModelError):
    """A toolchain could not be installed, or ended without a result."""

    number = 121
    remedy = "Read the sentence, then `edgewright toolchain doctor`; other targets do not need it."


class TensorTypeError(ModelError):
    """A tensor of the model has an element type or a structure that cannot be compiled."""

    number = 122
    remedy = "Export the model with tensors of float, integer or boolean type, without sequences and maps."


class OpenShapeError(ModelError):
    """An input's size is open, and nothing says which one the device will use."""

    number = 123
    remedy = "Give each input its shape in model.toml; `edgewright init` writes a proposal."


class SourceFormatError(ModelError):
    """The file is of a format that cannot be compiled for the targets."""

    number = 124
    remedy = "Push an ONNX or TFLite file, or install the toolchain that reads this one."


class TensorDataError(ModelError):
    """A file of tensors does not fit the model's inputs."""

    number = 125
    remedy = "Write one array an input, named as the input, with one call a row."


class UnqualifiedTargetError(ModelError):
    """A target that is described, and not yet qualified."""

    number = 79
    remedy = "Choose a target that `edgewright targets` lists as shipped."


class TargetTableError(ModelError):
    """The site's own table of targets is wrong."""

    number = 50
    remedy = "Correct the entry in targets.toml of the data folder; docs/reference/targets.md explains them."


class LicenceRefusedError(ModelError):
    """The licence of the model or of a part of it is not among those that are allowed."""

    number = 98
    remedy = "Clear the licence, or add it to [licence] allow in model.toml after a lawyer has."


class LineModelError(ModelError):
    """The model takes tensors, and the robots' line gives it camera frames."""

    number = 119
    remedy = "Compile it with `edgewright compile`; a model for the line has one image input and labels."


class RequestError(ControllerError):
    """What a person asked for cannot be done."""


class UnknownModelError(RequestError):
    """No such model or version."""

    number = 90
    remedy = "List what there is with `edgewright models`."


class UnknownDeviceError(RequestError):
    """No such device."""

    number = 91
    remedy = "List what there is with `edgewright devices`."


class NoMatchingDeviceError(RequestError):
    """The selector matches no device that the version was compiled for."""

    number = 92
    remedy = "Check the selector and the devices' targets with `edgewright devices`."


class RolloutStateError(RequestError):
    """The rollout's state does not allow this."""

    number = 93
    remedy = "Look at it with `edgewright rollout show`."


class NotAuthorisedError(RequestError):
    """The token is missing, wrong or may not do this."""

    number = 94
    remedy = "Give a token by EDGEWRIGHT_TOKEN, or --data to read the local one."


class EnrolmentRefusedError(RequestError):
    """The enrolment token is unknown, used or too old."""

    number = 95
    remedy = "Make a new one with `edgewright token`."


class DigestMismatchError(RequestError):
    """The uploaded bytes do not have the digest that was named."""

    number = 96
    remedy = "Upload it again."


class VersionNotReadyError(RequestError):
    """The version is still being built, failed or was withdrawn."""

    number = 97
    remedy = "Look at it with `edgewright models`."


class UnknownRolloutError(RequestError):
    """No such rollout."""

    number = 101
    remedy = "List what there is with `edgewright rollout list`."


class InvalidRequestError(RequestError):
    """The request is not what the interface describes."""

    number = 99
    remedy = "Compare it with docs/reference/rest-api.md."


class UnknownAddressError(RequestError):
    """No page and no operation has this address."""

    number = 100
    remedy = "Begin at the overview, or read docs/reference/rest-api.md."


class SignaturesMissingError(RequestError):
    """A role's threshold of signatures is not reached yet."""

    number = 102
    remedy = "Export the request, have the missing key holders sign it, and import it; see `edgewright keys`."


class SignatureRefusedError(RequestError):
    """A signed request is not what was asked for, or its signatures do not count."""

    number = 103
    remedy = "Export the request again and sign that one with a key of the role."


class DeviceRevokedError(RequestError):
    """The device was revoked."""

    number = 104
    remedy = "If it shall come back, enrol it again with a new token."


class AuditBrokenError(RequestError):
    """The audit log was changed or shortened."""

    number = 105
    remedy = "Compare it with the last exported head; treat the time after it as an incident."


class ProvenanceError(RequestError):
    """An artifact is not what its signed provenance says."""

    number = 106
    remedy = "Do not use it; download it again from a controller that you trust."


class ForbiddenError(RequestError):
    """The role of this token may not do this."""

    number = 107
    remedy = "Ask somebody with the role that the sentence names."


class UnknownTokenError(RequestError):
    """No such token."""

    number = 108
    remedy = "List what there is with `edgewright people list`."


class CertificateRequestError(RequestError):
    """The certificate signing request cannot be granted."""

    number = 109
    remedy = "Make a P-256 key and a PKCS#10 request signed with it; see docs/reference/rest-api.md."


class TooManyAttemptsError(RequestError):
    """Too many wrong tokens were shown."""

    number = 110
    remedy = "Wait a minute, then show the right token."


class UnknownSigningRequestError(RequestError):
    """No such signing request waits."""

    number = 111
    remedy = "It may be done or given up; list what waits with `edgewright keys requests`."


class UnknownAlarmError(RequestError):
    """No such alarm, or it is closed."""

    number = 115
    remedy = "List what there is with `edgewright drift`."


class BrokerFullError(RequestError):
    """The release does not fit into what the broker may hold."""

    number = 116
    remedy = "Withdraw versions that nobody needs, or raise --broker-memory-mb; see `edgewright broker show`."


class DownloadsBusyError(RequestError):
    """As many devices download over HTTPS as may at a time."""

    number = 117
    remedy = "Ask again after the seconds that Retry-After names; what has arrived need not come again."


class UnknownBlobError(RequestError):
    """No release that is published now has this blob."""

    number = 118
    remedy = "Take the newest assignment; a version that was retired is published again by its next rollout."


class RebuildStateError(RequestError):
    """No such rebuild, or none that this can be done with now."""

    number = 16
    remedy = "List what there is with `edgewright rebuild list`."


class UnknownAliasError(RequestError):
    """No such alias, or a name that none can have."""

    number = 112
    remedy = "List what there is with `edgewright alias list`."


class ExchangeError(RequestError):
    """Another registry cannot be read or written."""

    number = 113
    remedy = "Check the tracking address and that the extra edgewright-controller[mlflow] is installed."


class UnknownQualificationError(RequestError):
    """No such qualification, or no device that takes it."""

    number = 114
    remedy = "List what there is with `edgewright qualify list`; a device says yes in its own configuration."


class HarmError(ControllerError):
    """Evidence shows that a version does harm; only `edgewright health` ends with it."""

    number = 19
    remedy = "Take the next step that the last answer names."


def told_by_child(number: int, sentence: str, otherwise: type[ControllerError]) -> ControllerError:
    """The error that a child process ended with, as its own class.

    Args:
        number: the error's, as the child gave it.
        sentence: the child's.
        otherwise: class where no error of the controller has that number.
    """
    kinds: list[type[ControllerError]] = [ControllerError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return next((kind for kind in kinds if kind.number == number), otherwise)(sentence)
