"""Every error this project raises on purpose, as one tree; one long file, so that it is seen whole.

Must not know HTTP: statuses live in `app.api.problems`, and a test demands a row for every leaf.

    SageSleepError
    |- InvalidInput                     the caller must change what was sent
    |  |- InvalidSlug                   a name that cannot be an instance's
    |  |- InvalidPolicy                 policy or recipe values outside their ranges
    |  |- InvalidImportFile             a file to import that cannot be read at all
    |  |- InvalidToken                  a token that cannot be made as asked
    |  |- ChatRefused                   llama.cpp cannot answer what was sent
    |  `- InvalidWebhook                a webhook that nothing could be sent to
    |- AccessDenied                     the caller may not do this
    |  |- TokenMissing                  a token is demanded and none was sent
    |  |- TokenRefused                  unknown, revoked or expired
    |  |- ScopeMissing                  the token is not for this
    |  |- InstanceForbidden             the token is bound to other instances
    |  |- OriginForbidden               a web page of another origin
    |  |- HostNotAllowed                a Host header that is not this daemon's
    |  `- TooManyRequests               the caller's share of requests is used up
    |- NotFound                         the thing named does not exist
    |  |- InstanceNotFound
    |  |- ExperienceNotFound
    |  |- SleepCycleNotFound
    |  |- CheckpointNotFound
    |  |- CheckpointFileNotFound
    |  |- TokenNotFound
    |  |- WebhookNotFound
    |  |- WebhookDeliveryNotFound
    |  `- CursorNotFound
    |- Conflict                         the state of things does not allow it now
    |  |- SourceIdConflict              a client's id used again for another exchange
    |  |- ReportIdConflict              a session's own id used again for another report
    |  |- IdempotencyKeyReused          a key used again with another body
    |  |- SettingsUnusable              what an instance has of its own cannot be used
    |  |- BaseModelUnnamed              nobody named the base of the model that spoke
    |  |- BaseModelAbsent               no cycle can start from a base that is not on this machine
    |  |- SleepCycleActive              one cycle is queued or running already
    |  |- SleepNotDue                   a waiting rule is not met and force was not given
    |  |- NothingToConsolidate          no experience is left to train on
    |  |- NothingToRebuildFrom          no consolidated experience is left
    |  |- SleepCycleEnded               a finished cycle cannot be cancelled
    |  |- CheckpointNotPromotable       verdict not accepted, or the files are gone
    |  |- CheckpointInUse               an alias points at it
    |  |- NoPreviousCheckpoint          nothing to roll back to
    |  |- NoCandidate                   nothing to dismiss
    |  |- CheckpointNotReproducible     what it was trained on is not there any more
    |  |- ControlTooSmall               too few experiences to compare a selection with
    |  |- ExperimentActive              another reproduce or calibrate is running
    |  |- ExperienceInUse               a running cycle trains on it
    |  |- AdapterNotExportable          another runtime's files cannot hold this adapter
    |  |- BaseNotExportable             nor this base, or not from what is on this machine
    |  |- ExportBaseChanged             the base here is not the one that was trained on
    |  |- ExportNotReady                it is being made; ask again
    |  |- MergeLosesLearning            so few bits would round away what was learned
    |  |- RuntimeUnavailable            what a checkpoint is to be brought to does not answer
    |  |- RuntimeRefuses                or refuses what it is asked
    |  |- ChatNotInstalled              no llama.cpp is here to talk with
    |  |- BaseGgufAbsent                nor the base in the form that it reads
    |  |- WebhookDisabled               it is off, so nothing is sent to it
    |  |- WebhooksTooMany
    |  |- BaseDiffers                   what lies in the mirror was trained on another base
    |  |- CheckpointHere                what lies in the mirror is on this machine already
    |  |- NothingToJudgeBy              no exchange is here that a checkpoint could be judged by
    |  |- TemplateNotTranslatable       the base's chat template has no form in a runtime's language
    |  |- AliasesChanged                If-Match did not match
    |  |- ClockDoubted                  nothing old may go by what the clock says now
    |  |- BackupTargetInUse             there is something where the backup should go
    |  |- DataDirectoryNotEmpty         there is a state where a backup should be restored
    |  |- DatabaseNotEmpty              there is something where a database should be copied to
    |  `- CycleOwnershipLost            another worker or a cancel took the cycle over
    |- TrainingError                    a cycle cannot go on; `code` is stored with the cycle
    |  |- BaseModelNotFound
    |  |- BaseModelMismatch             the parent adapter belongs to another base
    |  |- BaseModelUnsupported          it loads, and yet cannot be trained
    |  |- ModelDownloadFailed
    |  |- DeviceUnavailable             the device that the recipe names is not on this machine
    |  |- DeviceFailed                  the device broke down under the training
    |  |- ChatTemplateMissing
    |  |- ExchangeUnfit                 one exchange cannot be trained on; the others can
    |  |  |- ChatTemplateRefuses        the template holds it in no form
    |  |  |- ExchangeTooLong            the system prompt leaves no room for it
    |  |  `- NoSupervisedTokens         an example on which no loss would be taken
    |  |- NothingFits                   none of a cycle's exchanges can be trained on
    |  |- FitUnknown                    what a cycle would set aside could not be looked at
    |  |- NoTrainableParameters         an adapter loaded frozen, or on nothing
    |  |- TargetModulesUnmatched        target_modules name what the model does not have
    |  |- NonFiniteLoss
    |  |- TrainingSetUnreadable
    |  `- TrainingStopped               asked to stop (cancel or shutdown)
    |- ArtifactError                    checkpoint files
    |  |- CheckpointFilesMissing
    |  |- CheckpointFilesAltered
    |  |- CheckpointFilesUnreadable     they may be whole, and cannot be looked at now
    |  |- CheckpointDamaged             found gone or altered before
    |  |- ExportFailed                  the process that makes a file for another runtime ended
    |  |- ChatEngineFailed              the process that answers did not start, or ended
    |  `- BackupUnusable                no backup, a damaged one, or one of a newer version
    |- StartRefused                     the daemon must not start with these settings
    |  |- AddressUnguarded              others could reach it and no token guards it
    |  |- PairMismatched                database and data directory belong to others
    |  |- CheckpointsNotThere           the place where checkpoints lie is absent or not mounted
    |  `- CertificateUnusable
    `- StorageError                     the place where the daemon keeps its state
       |- IngestOverloaded              more exchanges wait to be written than are let in
       |- WritesOverloaded              more changes wait to be written than are let in
       |- ChatOverloaded                more models are talked to at once than are loaded
       |- DatabaseUnavailable            it cannot be used, and none of these says why
       |  |- DatabaseLocked              another process, or another write, holds it for too long
       |  |- DatabaseReadOnly            it may not be written, or not even opened
       |  |- DatabaseCorrupt             the file is damaged, or is no database
       |  `- DatabaseFull                the disk has no room left
       |- DiskFull                       no room left for files
       |- DirectoryReadOnly              files may not be written
       |- DatabaseNotMigrated
       |- DatabaseCopyDiffers           what was copied into another database reads otherwise there
       |- DatabaseInUse                 another daemon, on another data directory, holds it
       `- DataDirectoryInUse
"""

from __future__ import annotations

from typing import Any


class SageSleepError(Exception):
    """Root of the tree.

    Args:
        message: What is wrong and what to do about it, for a person.
        pointer: RFC 6901 pointer into the request body, where one part of it is to blame.
        facts: Values a program may read (ids, numbers); never conversation text.
    """

    def __init__(self, message: str, *, pointer: str | None = None, **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        self.pointer = pointer
        self.facts = facts

    @property
    def code(self) -> str:
        """The class name in kebab case: `SleepCycleActive` is `sleep-cycle-active`."""
        name = type(self).__name__
        return "".join(f"-{c.lower()}" if c.isupper() else c for c in name).lstrip("-")


class InvalidInput(SageSleepError):
    """The caller must change what was sent."""


class InvalidSlug(InvalidInput):
    """A name that cannot be an instance's."""


class InvalidPolicy(InvalidInput):
    """Policy or recipe values outside their ranges."""


class InvalidImportFile(InvalidInput):
    """A file to import that cannot be read at all."""


class InvalidToken(InvalidInput):
    """A token that cannot be made as asked."""


class ChatRefused(InvalidInput):
    """llama.cpp cannot answer what was sent; the message has its words."""


class InvalidWebhook(InvalidInput):
    """A webhook that nothing could be sent to, or that would tell of no instance."""


class AccessDenied(SageSleepError):
    """The caller may not do this."""


class TokenMissing(AccessDenied):
    """A token is demanded and none was sent."""


class TokenRefused(AccessDenied):
    """The token is unknown, revoked or expired."""


class ScopeMissing(AccessDenied):
    """The token is valid, and not for this."""


class InstanceForbidden(AccessDenied):
    """The token is bound to other instances, or to some where it must be to none."""


class OriginForbidden(AccessDenied):
    """A web page of another origin asked for a change."""


class HostNotAllowed(AccessDenied):
    """The Host header names something else than this daemon."""


class TooManyRequests(AccessDenied):
    """The caller's share of requests is used up; `retry_after_seconds` says until when."""


class NotFound(SageSleepError):
    """The thing named does not exist."""


class InstanceNotFound(NotFound):
    """No instance has this slug."""


class ExperienceNotFound(NotFound):
    """No experience has this id."""


class SleepCycleNotFound(NotFound):
    """No sleep cycle has this id."""


class CheckpointNotFound(NotFound):
    """No checkpoint has this id."""


class CheckpointFileNotFound(NotFound):
    """The checkpoint has no file of this name."""


class TokenNotFound(NotFound):
    """No token has this id."""


class WebhookNotFound(NotFound):
    """No webhook has this id."""


class WebhookDeliveryNotFound(NotFound):
    """The webhook has no message of this id."""


class CursorNotFound(NotFound):
    """A paging cursor that this list never gave out."""


class Conflict(SageSleepError):
    """The state of things does not allow it now."""


class SourceIdConflict(Conflict):
    """The client's own id was used before for another exchange."""


class ClockDoubted(Conflict):
    """The clock jumped, or stands far from the newest thing received: nothing old goes by it."""


class ReportIdConflict(Conflict):
    """The session's own id was used before for another report."""


class IdempotencyKeyReused(Conflict):
    """The Idempotency-Key was used before with another body."""


class SettingsUnusable(Conflict):
    """An instance has stored settings that cannot be used, perhaps of an older version."""


class BaseModelUnnamed(Conflict):
    """Nobody named the base of the model that spoke, and no table knows it."""


class BaseModelAbsent(Conflict):
    """The base model that a cycle would start from is not on this machine."""


class SleepCycleActive(Conflict):
    """One cycle of the instance is queued or running already."""


class SleepNotDue(Conflict):
    """The trigger's waiting rules are not met and force was not given."""


class NothingToConsolidate(Conflict):
    """No experience is left to train on."""


class NothingToRebuildFrom(Conflict):
    """No consolidated experience is left, so an adapter made anew would learn nothing."""


class SleepCycleEnded(Conflict):
    """A finished cycle cannot be cancelled."""


class CheckpointNotPromotable(Conflict):
    """The verdict is not accepted, or the files are gone."""


class CheckpointInUse(Conflict):
    """An alias points at the checkpoint."""


class NoPreviousCheckpoint(Conflict):
    """There is nothing to roll back to."""


class NoCandidate(Conflict):
    """No checkpoint waits for a person, so there is none to dismiss."""


class CheckpointNotReproducible(Conflict):
    """What a checkpoint was trained on is erased, absent or not the same any more."""


class ControlTooSmall(Conflict):
    """Too few experiences are left to draw a control as large as the selection from."""


class ExperimentActive(Conflict):
    """Another experiment holds the data directory's scratch place."""


class ExperienceInUse(Conflict):
    """A running cycle trains on the experience."""


class AdapterNotExportable(Conflict):
    """Another runtime's files cannot hold what this adapter is; the message names what."""


class BaseNotExportable(Conflict):
    """The base cannot be written for another runtime from what is on this machine."""


class ExportBaseChanged(Conflict):
    """The base on this machine is not the one that the checkpoint was trained on."""


class ExportNotReady(Conflict):
    """The file for another runtime is being made, which takes longer than an answer may."""


class TemplateNotTranslatable(Conflict):
    """The base's chat template has no form in another runtime's language."""


class ChatNotInstalled(Conflict):
    """No llama.cpp is installed here to talk with."""


class BaseGgufAbsent(Conflict):
    """The base is not on this machine in the form that llama.cpp reads."""


class RuntimeUnavailable(Conflict):
    """A runtime that a checkpoint is to be brought to does not answer."""


class RuntimeRefuses(Conflict):
    """A runtime refuses what a checkpoint needs of it; the message has its words."""


class WebhookDisabled(Conflict):
    """The webhook is off, so nothing is sent to it."""


class WebhooksTooMany(Conflict):
    """There are as many webhooks as may be."""


class BaseDiffers(Conflict):
    """What lies in the mirror was trained on another base than the instance's here."""


class CheckpointHere(Conflict):
    """What lies in the mirror is on this machine already; `checkpoint_id` says what it is here."""


class NothingToJudgeBy(Conflict):
    """The instance has no exchange that a checkpoint of another machine could be judged by."""


class MergeLosesLearning(Conflict):
    """Weights of so few bits would round away what the adapter learned."""


class AliasesChanged(Conflict):
    """The aliases moved since the caller read them (If-Match)."""


class BackupTargetInUse(Conflict):
    """There is something where the backup should go."""


class DataDirectoryNotEmpty(Conflict):
    """There is a state already where a backup should be restored."""


class DatabaseNotEmpty(Conflict):
    """There is something already where a database should be copied to."""


class CycleOwnershipLost(Conflict):
    """Another worker, or a cancel, took the cycle over."""


class TrainingError(SageSleepError):
    """A cycle cannot go on; the code is stored with the cycle."""


class BaseModelNotFound(TrainingError):
    """The base model is not on this machine."""


class BaseModelMismatch(TrainingError):
    """The parent adapter was trained on another base model."""


class BaseModelUnsupported(TrainingError):
    """The base model loads, and yet cannot be trained: the message names what is in the way."""


class ModelDownloadFailed(TrainingError):
    """The embedded model could not be fetched or its checksum is wrong."""


class DeviceUnavailable(TrainingError):
    """The device that a recipe names is not on this machine."""


class DeviceFailed(TrainingError):
    """The device broke down under the training: its memory, its driver, or its place on the bus."""


class ChatTemplateMissing(TrainingError):
    """The tokenizer has no chat template, or one that does not hold the reply."""


class ExchangeUnfit(TrainingError):
    """One exchange cannot be trained on; `experience_id` is among its facts. The others can."""


class ChatTemplateRefuses(ExchangeUnfit):
    """The chat template holds the exchange in no form."""


class ExchangeTooLong(ExchangeUnfit):
    """The system prompt and the template leave no room for the exchange."""


class NoSupervisedTokens(ExchangeUnfit):
    """An example on which no loss would be taken."""


class NothingFits(TrainingError):
    """None of a cycle's exchanges can be put before its model; each was set aside by name."""


class FitUnknown(TrainingError):
    """What a cycle would set aside could not be looked at; a dry run's answer says why."""


class NoTrainableParameters(TrainingError):
    """The adapter was attached or loaded without a single trainable parameter."""


class TargetModulesUnmatched(TrainingError):
    """One of target_modules names no linear layer of the model's blocks; `there` are those."""


class NonFiniteLoss(TrainingError):
    """The loss became NaN or infinite."""


class TrainingSetUnreadable(TrainingError):
    """A saved training set that does not load with weights_only=True or has another shape."""


class TrainingStopped(TrainingError):
    """The cycle was asked to stop, by a cancel or by the daemon's shutdown."""


class ArtifactError(SageSleepError):
    """Checkpoint files on disk are not what the registry says."""


class CheckpointFilesMissing(ArtifactError):
    """Files of a checkpoint are gone."""


class CheckpointFilesAltered(ArtifactError):
    """Files of a checkpoint have another size or sha256 than its manifest says."""


class CheckpointFilesUnreadable(ArtifactError):
    """Files of a checkpoint cannot be looked at now; whether they are whole is not known."""


class CheckpointDamaged(ArtifactError):
    """Files of a checkpoint were found gone or altered, so it is not served."""


class ExportFailed(ArtifactError):
    """The process that makes a file for another runtime ended without one."""


class ChatEngineFailed(ArtifactError):
    """The process that answers a chat did not start, or ended before its answer did."""


class BackupUnusable(ArtifactError):
    """It is no backup, or a damaged one, or one of a newer version."""


class StartRefused(SageSleepError):
    """The daemon must not start with these settings."""


class AddressUnguarded(StartRefused):
    """Others could reach the address, and no token guards it."""


class PairMismatched(StartRefused):
    """The database and the data directory do not belong together."""


class CheckpointsNotThere(StartRefused):
    """The directory where the checkpoints lie is absent, or not mounted."""


class CertificateUnusable(StartRefused):
    """The TLS certificate or its key cannot be read, or they do not belong together."""


class StorageError(SageSleepError):
    """The place where the daemon keeps its state is not usable."""


class IngestOverloaded(StorageError):
    """More exchanges wait to be written than are let in."""


class WritesOverloaded(StorageError):
    """More changes wait to be written than are let in."""


class ChatOverloaded(StorageError):
    """More models are talked to at once than are loaded."""


class DatabaseUnavailable(StorageError):
    """The database cannot be used."""


class DatabaseLocked(DatabaseUnavailable):
    """Another process, or another write, holds the database for too long."""


class DatabaseReadOnly(DatabaseUnavailable):
    """The database may not be written, or not even opened."""


class DatabaseCorrupt(DatabaseUnavailable):
    """The database file is damaged, or is no database."""


class DatabaseFull(DatabaseUnavailable):
    """The disk has no room left for the database."""


class DiskFull(StorageError):
    """The disk has no room left for files."""


class DirectoryReadOnly(StorageError):
    """Files may not be written where the daemon keeps them."""


class DatabaseNotMigrated(StorageError):
    """The database's schema is not the one this version needs."""


class DatabaseCopyDiffers(StorageError):
    """What was copied into another database reads otherwise there; it was undone."""


class DatabaseInUse(StorageError):
    """A daemon, or what must not run beside one, holds the database by another data directory."""


class DataDirectoryInUse(StorageError):
    """A daemon, or what must not run beside one, holds the data directory."""
