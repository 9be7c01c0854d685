"""Numbered errors: one sentence of what is wrong, one of what to do.

The number is stable, crosses the wire in a report, and is the exit status of a command that ends with it
(10 to 119, clear of the shell's own). Roots say whose fault it is::

    EdgewrightError
    |-- MessageError          the peer sent what the contract does not allow        10-19
    |-- RepositoryError       what was published is not what was signed             20-29
    |-- TransferError         the network or the broker did not deliver             30-39
    |-- DeviceError           this device cannot do what it was asked               40-59
    `-- ControllerError       see edgewright.controller.errors                      60-119

Numbers 20 to 29 are attacks or their look-alikes: a device reports them by name and goes on with the
model that runs.
"""

from typing import ClassVar


class EdgewrightError(Exception):
    """Root of all errors that a person may see.

    Attributes:
        number: stable number, also the exit status.
        remedy: one sentence that says what to do.
    """

    number: ClassVar[int] = 1
    remedy: ClassVar[str] = "Read the message; if it names no cause, report it with the log."

    @property
    def name(self) -> str:
        """The class name without its suffix, as reports and pages show it."""
        return type(self).__name__.removesuffix("Error")

    def __str__(self) -> str:
        said = super().__str__()
        return f"E{self.number:03d} {said} {self.remedy}"

    @property
    def sentence(self) -> str:
        """What is wrong, without number and remedy."""
        return super().__str__()


class MessageError(EdgewrightError):
    """The peer sent what the contract does not allow."""


class MalformedMessageError(MessageError):
    """Bytes that are no message of this contract."""

    number = 10
    remedy = "Check that controller and agents run releases of the same protocol."


class UnknownTopicError(MessageError):
    """A topic outside the contract."""

    number = 11
    remedy = "Check the topic root and the broker's bridge configuration."


class ProtocolMismatchError(MessageError):
    """Controller and device speak different protocol versions."""

    number = 12
    remedy = "Upgrade the older side first to the release that the message names."


class IllegalTransitionError(MessageError):
    """A deployment event that the state machine does not allow in its state."""

    number = 13
    remedy = "Report it with the device's journal: the state was left as it was."


class HistogramMismatchError(MessageError):
    """Two histograms of different schemas or sizes were to be merged."""

    number = 14
    remedy = "Upgrade the device whose windows carry the older schema."


class UnsignedMessageError(MessageError):
    """A message without the signature of the key that its sender enrolled."""

    number = 15
    remedy = "Look for who can publish on the broker; if it is the device, enrol it again."


class MalformedTruthError(MessageError):
    """Something that was told as the truth of an item is none."""

    number = 17
    remedy = "Correct what tells it; docs/how-to/capture-and-labels.md shows what a truth looks like."


class RepositoryError(EdgewrightError):
    """What was published is not what was signed, or not meant for this device."""


class TamperedMetadataError(RepositoryError):
    """Signed metadata does not verify."""

    number = 20
    remedy = "Look for who can publish on the broker; the running model goes on."


class TamperedArtifactError(RepositoryError):
    """Bytes of an artifact do not have the signed digest."""

    number = 21
    remedy = "Look for who can publish on the broker; the running model goes on."


class ForeignAssignmentError(RepositoryError):
    """An assignment that names another device."""

    number = 22
    remedy = "Look for who can publish on the broker; the running model goes on."


class RollbackAttackError(RepositoryError):
    """An older version of metadata, of an assignment or of a release than was seen before."""

    number = 23
    remedy = "To go back on purpose, order a rollback to a named version at the controller."


class EquivocationError(RepositoryError):
    """Two different assignments with the same version."""

    number = 24
    remedy = "Stop the director key's use and look for a second controller that holds it."


class ExpiredMetadataError(RepositoryError):
    """Signed metadata is past its expiry; new installs wait, the running model goes on."""

    number = 25
    remedy = "Check that the controller runs and that this device's clock is right."


class DisagreementError(RepositoryError):
    """Assignment and image repository do not name the same release for this device."""

    number = 26
    remedy = "Publish the rollout again; if it stays, one of the two key stores is compromised."


class IncompatibleTargetError(RepositoryError):
    """A release made for another target than this device's."""

    number = 27
    remedy = "Compile the model for this device's target, or take the device out of the group."


class UntrustedClockError(RepositoryError):
    """This device's clock stands before what signed documents have told, or far after it."""

    number = 28
    remedy = "None needed for the running model; set the clock, or let the controller's signed time reach it."


class ConfidentialKeyError(RepositoryError):
    """The content key of a confidential model is missing, or was wrapped for another device."""

    number = 29
    remedy = "Roll the model out to this device again: the assignment brings the key that was wrapped for it."


class TransferError(EdgewrightError):
    """The network or the broker did not deliver."""


class BrokerUnreachableError(TransferError):
    """No MQTT broker answers."""

    number = 30
    remedy = "Check the address, the port and that the broker runs; the agent keeps trying."


class BlobTimeoutError(TransferError):
    """Chunks did not arrive within their deadline."""

    number = 31
    remedy = "The agent asks the controller to publish them again; check the broker's memory limits."


class PatchBaseError(TransferError):
    """The base of a patch is not what the patch was made from."""

    number = 32
    remedy = "None needed: the full artifact is fetched within the device's byte budget."


class StorageFullError(TransferError):
    """The device's store has no room for the artifact."""

    number = 33
    remedy = "Free disk space on the device or raise the store's quota."


class SlowRetrievalError(TransferError):
    """Bytes come so slowly that the transfer would never end."""

    number = 34
    remedy = "Check the network; if it is fast, look for who sits between this device and the broker."


class ByteBudgetError(TransferError):
    """The version needs more bytes than the device's budget of the day has left."""

    number = 35
    remedy = "None needed: it is tried again tomorrow; raise `day_mb` in agent.toml to have it sooner."


class TransferDeadlineError(TransferError):
    """Fetching a version took longer than the device allows."""

    number = 36
    remedy = "Check the network between this device and the broker; what arrived is kept for the next try."


class FullBlobRefusedError(TransferError):
    """A patch could not be used, and the full blob does not fit the device's byte budget."""

    number = 37
    remedy = "Roll the version out again when the budget allows it, or raise `day_mb` in agent.toml."


class DoorUnreachableError(TransferError):
    """The controller's HTTPS door does not answer, or not with the bytes that were asked for."""

    number = 38
    remedy = "Check `door` in agent.toml and that the controller runs; the agent keeps trying."


class WaitingForWindowError(TransferError):
    """The version is large and no download window is open."""

    number = 39
    remedy = "None needed: it is fetched when the next of `windows` in agent.toml opens."


class DeviceError(EdgewrightError):
    """This device cannot do what it was asked."""


class ConfigurationError(DeviceError):
    """The agent's configuration file is missing, unreadable or wrong."""

    number = 40
    remedy = "Correct the named setting; docs/reference/agent-configuration.md lists all of them."


class EnrolmentError(DeviceError):
    """The controller did not enrol this device."""

    number = 41
    remedy = "Ask for a new enrolment token and check the controller's address."


class RuntimeLoadError(DeviceError):
    """The inference runtime cannot load the artifact."""

    number = 42
    remedy = "Check that the artifact's runtime range covers the installed runtime."


class GoldenMismatchError(DeviceError):
    """Outputs on the golden inputs differ from the signed ones by more than the tolerance."""

    number = 43
    remedy = "Compile for this device's exact runtime version or qualify on such a device."


class LatencyLimitError(DeviceError):
    """The artifact is slower on this device than its manifest allows."""

    number = 44
    remedy = "Choose a smaller model or a faster target, or raise the limit in model.toml."


class RunnerCrashError(DeviceError):
    """A runner ended by itself while it held a model."""

    number = 45
    remedy = "The runner is replaced; after repeated crashes the model is rolled back."


class RunnerHangError(DeviceError):
    """A runner did not answer before the frame's deadline."""

    number = 46
    remedy = "The runner is replaced; after repeated hangs the model is rolled back."


class RunnerOutputError(DeviceError):
    """A runner answered with a wrong shape or with values that are not finite."""

    number = 47
    remedy = "The model is rolled back; look at its quantisation and its input range."


class AlreadyRunningError(DeviceError):
    """Another agent uses this data folder."""

    number = 48
    remedy = "Stop the other agent or give this one a data folder of its own."


class NewerDataError(ConfigurationError):
    """The data folder was written by a newer agent."""

    number = 49
    remedy = "Run the newer agent again, or enrol this device anew in an empty data folder."


class IdentityError(DeviceError):
    """The device's key or certificate is missing, unreadable or past its expiry."""

    number = 51
    remedy = "Renew it with `edgewright-agent renew`, or enrol this device again with a new token."


class RenewalRefusedError(DeviceError):
    """The controller did not renew the device's certificate."""

    number = 52
    remedy = "If the device is not revoked, enrol it again with a new token."


class VerifierError(DeviceError):
    """The process that verifies signed metadata crashed, hung or could not be started."""

    number = 53
    remedy = "None needed for the running model; if it stays, look at the device's free memory and its log."


class UnexpectedError(DeviceError):
    """The agent met something that it was not made for; that was dropped, and the model goes on."""

    number = 54
    remedy = "Look at the device's log, and report it with the lines around it."


class PlacementError(DeviceError):
    """A model's graph does not run on the execution provider or delegate that its manifest names."""

    number = 55
    remedy = "Compile for what this device has, or install the accelerator's runtime; nothing fell back."


class RunnerMemoryError(DeviceError):
    """A runner takes more memory than its manifest allows."""

    number = 56
    remedy = "The runner is replaced; where it grows again, the model is rolled back: look for a leak."


class RunnerShapeError(DeviceError):
    """A runner answered with an output of another shape than its manifest names."""

    number = 57
    remedy = "The model is rolled back; compare its outputs with the manifest."


class RunnerSlowError(DeviceError):
    """A runner answers, and after the deadlines of its frames."""

    number = 58
    remedy = (
        "The runner is replaced; where it stays slow, the model is rolled back: look at the board's load."
    )


class RebootLoopError(DeviceError):
    """The agent started again and again while this model was new."""

    number = 59
    remedy = "The model before decides; look at the device's log, then roll the version out again."


class ErrorLoopError(DeviceError):
    """The same step of a deployment failed again and again."""

    number = 80
    remedy = "The deployment has ended; look at the first error in its reports, then roll it out again."


class InterlockError(DeviceError):
    """The interlock cannot be read, so no moment counts as safe."""

    number = 81
    remedy = "Check the place that `[interlock]` names in agent.toml; the model that runs goes on."


class SourceLostError(DeviceError):
    """The camera, stream, file or topic gives no frames."""

    number = 82
    remedy = "Check cable, power and address; the agent keeps trying."


class FrozenPictureError(DeviceError):
    """The camera gives the same picture again and again."""

    number = 83
    remedy = "Restart the camera; its frames go to the fallback until the picture moves."


class BlackPictureError(DeviceError):
    """The camera's picture is black, or one even colour."""

    number = 84
    remedy = "Check light, lens cap and exposure; its frames go to the fallback until there is a picture."


class ResolutionError(DeviceError):
    """The camera's picture has another size than the configuration names."""

    number = 85
    remedy = "Set the camera to the size in `[source]` of agent.toml, or correct that."


class SinkError(DeviceError):
    """A decision could not be delivered to its sink."""

    number = 86
    remedy = "Check the sink that the sentence names; the others go on."


class DamagedPictureError(DeviceError):
    """A picture of the source cannot be read."""

    number = 87
    remedy = "Look at the file or the sender that the sentence names; that picture went to the fallback."


class StateTimeoutError(DeviceError):
    """A deployment stayed in one state for longer than that can take."""

    number = 88
    remedy = "The deployment has ended; look at what it waited for, then roll it out again."


class DamagedDatabaseError(DeviceError):
    """The agent's database was damaged on the disk, and a new one has taken its place."""

    number = 89
    remedy = "Look at the disk's health; the next assignment brings back what the sentence misses."
