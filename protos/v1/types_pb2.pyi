from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Mode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODE_UNSPECIFIED: _ClassVar[Mode]
    TCC: _ClassVar[Mode]
    SAGA: _ClassVar[Mode]

class TransactionStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRANSACTION_STATUS_UNSPECIFIED: _ClassVar[TransactionStatus]
    TRYING: _ClassVar[TransactionStatus]
    CONFIRMING: _ClassVar[TransactionStatus]
    CONFIRMED: _ClassVar[TransactionStatus]
    CANCELLING: _ClassVar[TransactionStatus]
    CANCELLED: _ClassVar[TransactionStatus]
    RUNNING: _ClassVar[TransactionStatus]
    COMPLETED: _ClassVar[TransactionStatus]
    COMPENSATING: _ClassVar[TransactionStatus]
    COMPENSATED: _ClassVar[TransactionStatus]
    RESOLVED: _ClassVar[TransactionStatus]

class Decision(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DECISION_NONE: _ClassVar[Decision]
    COMMIT: _ClassVar[Decision]
    ABORT: _ClassVar[Decision]

class OperationKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OPERATION_KIND_UNSPECIFIED: _ClassVar[OperationKind]
    OPERATION_TCC: _ClassVar[OperationKind]
    OPERATION_ACTION: _ClassVar[OperationKind]

class Phase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PHASE_UNSPECIFIED: _ClassVar[Phase]
    PHASE_TRY: _ClassVar[Phase]
    PHASE_CONFIRM: _ClassVar[Phase]
    PHASE_CANCEL: _ClassVar[Phase]
    PHASE_ACTION: _ClassVar[Phase]
    PHASE_COMPENSATION: _ClassVar[Phase]

class BranchStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BRANCH_STATUS_UNSPECIFIED: _ClassVar[BranchStatus]
    BRANCH_REGISTERED: _ClassVar[BranchStatus]
    BRANCH_TRYING: _ClassVar[BranchStatus]
    BRANCH_TRIED: _ClassVar[BranchStatus]
    BRANCH_RUNNING: _ClassVar[BranchStatus]
    BRANCH_SUCCEEDED: _ClassVar[BranchStatus]
    BRANCH_REFUSED: _ClassVar[BranchStatus]
    BRANCH_CONFIRMING: _ClassVar[BranchStatus]
    BRANCH_CONFIRMED: _ClassVar[BranchStatus]
    BRANCH_CANCELLING: _ClassVar[BranchStatus]
    BRANCH_CANCELLED: _ClassVar[BranchStatus]
    BRANCH_COMPENSATING: _ClassVar[BranchStatus]
    BRANCH_COMPENSATED: _ClassVar[BranchStatus]
    BRANCH_ABANDONED: _ClassVar[BranchStatus]
    BRANCH_RESOLVED: _ClassVar[BranchStatus]
    BRANCH_WAITING: _ClassVar[BranchStatus]
    BRANCH_SKIPPED: _ClassVar[BranchStatus]

class BranchKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BRANCH_KIND_UNSPECIFIED: _ClassVar[BranchKind]
    KIND_TCC: _ClassVar[BranchKind]
    KIND_CALL: _ClassVar[BranchKind]
    KIND_SAGA: _ClassVar[BranchKind]
    KIND_FOR_EACH: _ClassVar[BranchKind]
    KIND_WAIT: _ClassVar[BranchKind]
    KIND_AWAIT: _ClassVar[BranchKind]
    KIND_SIGNAL: _ClassVar[BranchKind]
MODE_UNSPECIFIED: Mode
TCC: Mode
SAGA: Mode
TRANSACTION_STATUS_UNSPECIFIED: TransactionStatus
TRYING: TransactionStatus
CONFIRMING: TransactionStatus
CONFIRMED: TransactionStatus
CANCELLING: TransactionStatus
CANCELLED: TransactionStatus
RUNNING: TransactionStatus
COMPLETED: TransactionStatus
COMPENSATING: TransactionStatus
COMPENSATED: TransactionStatus
RESOLVED: TransactionStatus
DECISION_NONE: Decision
COMMIT: Decision
ABORT: Decision
OPERATION_KIND_UNSPECIFIED: OperationKind
OPERATION_TCC: OperationKind
OPERATION_ACTION: OperationKind
PHASE_UNSPECIFIED: Phase
PHASE_TRY: Phase
PHASE_CONFIRM: Phase
PHASE_CANCEL: Phase
PHASE_ACTION: Phase
PHASE_COMPENSATION: Phase
BRANCH_STATUS_UNSPECIFIED: BranchStatus
BRANCH_REGISTERED: BranchStatus
BRANCH_TRYING: BranchStatus
BRANCH_TRIED: BranchStatus
BRANCH_RUNNING: BranchStatus
BRANCH_SUCCEEDED: BranchStatus
BRANCH_REFUSED: BranchStatus
BRANCH_CONFIRMING: BranchStatus
BRANCH_CONFIRMED: BranchStatus
BRANCH_CANCELLING: BranchStatus
BRANCH_CANCELLED: BranchStatus
BRANCH_COMPENSATING: BranchStatus
BRANCH_COMPENSATED: BranchStatus
BRANCH_ABANDONED: BranchStatus
BRANCH_RESOLVED: BranchStatus
BRANCH_WAITING: BranchStatus
BRANCH_SKIPPED: BranchStatus
BRANCH_KIND_UNSPECIFIED: BranchKind
KIND_TCC: BranchKind
KIND_CALL: BranchKind
KIND_SAGA: BranchKind
KIND_FOR_EACH: BranchKind
KIND_WAIT: BranchKind
KIND_AWAIT: BranchKind
KIND_SIGNAL: BranchKind

class Payload(_message.Message):
    __slots__ = ("data", "content_type")
    DATA_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    content_type: str
    def __init__(self, data: _Optional[bytes] = ..., content_type: _Optional[str] = ...) -> None: ...

class Branch(_message.Message):
    __slots__ = ("branch_id", "operation", "status", "attempts", "due_at_ms", "pending", "output", "error_code", "error_text", "started_at_ms", "finished_at_ms", "pending_since_ms", "parent_branch_id", "kind")
    BRANCH_ID_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    DUE_AT_MS_FIELD_NUMBER: _ClassVar[int]
    PENDING_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    ERROR_CODE_FIELD_NUMBER: _ClassVar[int]
    ERROR_TEXT_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    FINISHED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    PENDING_SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    PARENT_BRANCH_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    branch_id: str
    operation: str
    status: BranchStatus
    attempts: int
    due_at_ms: int
    pending: bool
    output: Payload
    error_code: str
    error_text: str
    started_at_ms: int
    finished_at_ms: int
    pending_since_ms: int
    parent_branch_id: str
    kind: BranchKind
    def __init__(self, branch_id: _Optional[str] = ..., operation: _Optional[str] = ..., status: _Optional[_Union[BranchStatus, str]] = ..., attempts: _Optional[int] = ..., due_at_ms: _Optional[int] = ..., pending: _Optional[bool] = ..., output: _Optional[_Union[Payload, _Mapping]] = ..., error_code: _Optional[str] = ..., error_text: _Optional[str] = ..., started_at_ms: _Optional[int] = ..., finished_at_ms: _Optional[int] = ..., pending_since_ms: _Optional[int] = ..., parent_branch_id: _Optional[str] = ..., kind: _Optional[_Union[BranchKind, str]] = ...) -> None: ...

class Transaction(_message.Message):
    __slots__ = ("gid", "mode", "name", "status", "decision", "reason_code", "reason_text", "branches", "output", "created_at_ms", "deadline_at_ms", "updated_at_ms", "finished_at_ms", "attention_since_ms", "attention_reason", "definition_version", "definition_digest", "labels", "paused_at_ms", "branches_omitted")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    GID_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    REASON_CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_TEXT_FIELD_NUMBER: _ClassVar[int]
    BRANCHES_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_AT_MS_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    FINISHED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    ATTENTION_SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    ATTENTION_REASON_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_VERSION_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_DIGEST_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    PAUSED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    BRANCHES_OMITTED_FIELD_NUMBER: _ClassVar[int]
    gid: str
    mode: Mode
    name: str
    status: TransactionStatus
    decision: Decision
    reason_code: str
    reason_text: str
    branches: _containers.RepeatedCompositeFieldContainer[Branch]
    output: Payload
    created_at_ms: int
    deadline_at_ms: int
    updated_at_ms: int
    finished_at_ms: int
    attention_since_ms: int
    attention_reason: str
    definition_version: str
    definition_digest: str
    labels: _containers.ScalarMap[str, str]
    paused_at_ms: int
    branches_omitted: int
    def __init__(self, gid: _Optional[str] = ..., mode: _Optional[_Union[Mode, str]] = ..., name: _Optional[str] = ..., status: _Optional[_Union[TransactionStatus, str]] = ..., decision: _Optional[_Union[Decision, str]] = ..., reason_code: _Optional[str] = ..., reason_text: _Optional[str] = ..., branches: _Optional[_Iterable[_Union[Branch, _Mapping]]] = ..., output: _Optional[_Union[Payload, _Mapping]] = ..., created_at_ms: _Optional[int] = ..., deadline_at_ms: _Optional[int] = ..., updated_at_ms: _Optional[int] = ..., finished_at_ms: _Optional[int] = ..., attention_since_ms: _Optional[int] = ..., attention_reason: _Optional[str] = ..., definition_version: _Optional[str] = ..., definition_digest: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., paused_at_ms: _Optional[int] = ..., branches_omitted: _Optional[int] = ...) -> None: ...

class Operation(_message.Message):
    __slots__ = ("name", "kind", "participant", "compensable", "input_schema", "output_schema", "attached", "description", "owner", "compensation", "registered", "attached_since_ms", "node_id", "sagas", "saga_count")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANT_FIELD_NUMBER: _ClassVar[int]
    COMPENSABLE_FIELD_NUMBER: _ClassVar[int]
    INPUT_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    ATTACHED_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    COMPENSATION_FIELD_NUMBER: _ClassVar[int]
    REGISTERED_FIELD_NUMBER: _ClassVar[int]
    ATTACHED_SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    SAGAS_FIELD_NUMBER: _ClassVar[int]
    SAGA_COUNT_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: OperationKind
    participant: str
    compensable: bool
    input_schema: str
    output_schema: str
    attached: bool
    description: str
    owner: str
    compensation: str
    registered: bool
    attached_since_ms: int
    node_id: str
    sagas: _containers.RepeatedScalarFieldContainer[str]
    saga_count: int
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[_Union[OperationKind, str]] = ..., participant: _Optional[str] = ..., compensable: _Optional[bool] = ..., input_schema: _Optional[str] = ..., output_schema: _Optional[str] = ..., attached: _Optional[bool] = ..., description: _Optional[str] = ..., owner: _Optional[str] = ..., compensation: _Optional[str] = ..., registered: _Optional[bool] = ..., attached_since_ms: _Optional[int] = ..., node_id: _Optional[str] = ..., sagas: _Optional[_Iterable[str]] = ..., saga_count: _Optional[int] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("status", "reason", "message", "field", "retry_after_ms")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    status: int
    reason: str
    message: str
    field: str
    retry_after_ms: int
    def __init__(self, status: _Optional[int] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., field: _Optional[str] = ..., retry_after_ms: _Optional[int] = ...) -> None: ...
