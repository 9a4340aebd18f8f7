from protos.v1 import types_pb2 as _types_pb2
from protos.v1 import participant_pb2 as _participant_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class BranchSpec(_message.Message):
    __slots__ = ("branch_id", "operation", "input", "timeout_ms", "attempt_max", "pending_timeout_ms", "parent_branch_id")
    BRANCH_ID_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_MAX_FIELD_NUMBER: _ClassVar[int]
    PENDING_TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    PARENT_BRANCH_ID_FIELD_NUMBER: _ClassVar[int]
    branch_id: str
    operation: str
    input: _types_pb2.Payload
    timeout_ms: int
    attempt_max: int
    pending_timeout_ms: int
    parent_branch_id: str
    def __init__(self, branch_id: _Optional[str] = ..., operation: _Optional[str] = ..., input: _Optional[_Union[_types_pb2.Payload, _Mapping]] = ..., timeout_ms: _Optional[int] = ..., attempt_max: _Optional[int] = ..., pending_timeout_ms: _Optional[int] = ..., parent_branch_id: _Optional[str] = ...) -> None: ...

class BeginRequest(_message.Message):
    __slots__ = ("gid", "name", "deadline_ms", "labels", "tries", "auto_confirm", "wait", "check_back", "input", "depth")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    GID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    TRIES_FIELD_NUMBER: _ClassVar[int]
    AUTO_CONFIRM_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    CHECK_BACK_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    gid: str
    name: str
    deadline_ms: int
    labels: _containers.ScalarMap[str, str]
    tries: _containers.RepeatedCompositeFieldContainer[BranchSpec]
    auto_confirm: bool
    wait: bool
    check_back: str
    input: _types_pb2.Payload
    depth: int
    def __init__(self, gid: _Optional[str] = ..., name: _Optional[str] = ..., deadline_ms: _Optional[int] = ..., labels: _Optional[_Mapping[str, str]] = ..., tries: _Optional[_Iterable[_Union[BranchSpec, _Mapping]]] = ..., auto_confirm: _Optional[bool] = ..., wait: _Optional[bool] = ..., check_back: _Optional[str] = ..., input: _Optional[_Union[_types_pb2.Payload, _Mapping]] = ..., depth: _Optional[int] = ...) -> None: ...

class TryRequest(_message.Message):
    __slots__ = ("gid", "tries")
    GID_FIELD_NUMBER: _ClassVar[int]
    TRIES_FIELD_NUMBER: _ClassVar[int]
    gid: str
    tries: _containers.RepeatedCompositeFieldContainer[BranchSpec]
    def __init__(self, gid: _Optional[str] = ..., tries: _Optional[_Iterable[_Union[BranchSpec, _Mapping]]] = ...) -> None: ...

class RegisterRequest(_message.Message):
    __slots__ = ("gid", "branches")
    GID_FIELD_NUMBER: _ClassVar[int]
    BRANCHES_FIELD_NUMBER: _ClassVar[int]
    gid: str
    branches: _containers.RepeatedCompositeFieldContainer[BranchSpec]
    def __init__(self, gid: _Optional[str] = ..., branches: _Optional[_Iterable[_Union[BranchSpec, _Mapping]]] = ...) -> None: ...

class ConfirmRequest(_message.Message):
    __slots__ = ("gid", "branch_ids", "wait")
    GID_FIELD_NUMBER: _ClassVar[int]
    BRANCH_IDS_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    gid: str
    branch_ids: _containers.RepeatedScalarFieldContainer[str]
    wait: bool
    def __init__(self, gid: _Optional[str] = ..., branch_ids: _Optional[_Iterable[str]] = ..., wait: _Optional[bool] = ...) -> None: ...

class CancelRequest(_message.Message):
    __slots__ = ("gid", "reason", "wait")
    GID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    gid: str
    reason: str
    wait: bool
    def __init__(self, gid: _Optional[str] = ..., reason: _Optional[str] = ..., wait: _Optional[bool] = ...) -> None: ...

class SubmitSagaRequest(_message.Message):
    __slots__ = ("gid", "name", "version", "input", "labels", "wait")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    GID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    gid: str
    name: str
    version: str
    input: _types_pb2.Payload
    labels: _containers.ScalarMap[str, str]
    wait: bool
    def __init__(self, gid: _Optional[str] = ..., name: _Optional[str] = ..., version: _Optional[str] = ..., input: _Optional[_Union[_types_pb2.Payload, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ..., wait: _Optional[bool] = ...) -> None: ...

class SignalSagaRequest(_message.Message):
    __slots__ = ("gid", "name", "payload")
    GID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    gid: str
    name: str
    payload: _types_pb2.Payload
    def __init__(self, gid: _Optional[str] = ..., name: _Optional[str] = ..., payload: _Optional[_Union[_types_pb2.Payload, _Mapping]] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("gid", "wait", "with_branches")
    GID_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    WITH_BRANCHES_FIELD_NUMBER: _ClassVar[int]
    gid: str
    wait: bool
    with_branches: bool
    def __init__(self, gid: _Optional[str] = ..., wait: _Optional[bool] = ..., with_branches: _Optional[bool] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ("statuses", "name", "attention", "limit", "page_token")
    STATUSES_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ATTENTION_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    statuses: _containers.RepeatedScalarFieldContainer[_types_pb2.TransactionStatus]
    name: str
    attention: bool
    limit: int
    page_token: str
    def __init__(self, statuses: _Optional[_Iterable[_Union[_types_pb2.TransactionStatus, str]]] = ..., name: _Optional[str] = ..., attention: _Optional[bool] = ..., limit: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListReply(_message.Message):
    __slots__ = ("transactions", "next_page_token")
    TRANSACTIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    transactions: _containers.RepeatedCompositeFieldContainer[_types_pb2.Transaction]
    next_page_token: str
    def __init__(self, transactions: _Optional[_Iterable[_Union[_types_pb2.Transaction, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CompleteBranchRequest(_message.Message):
    __slots__ = ("gid", "branch_id", "phase", "succeeded", "refused")
    GID_FIELD_NUMBER: _ClassVar[int]
    BRANCH_ID_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    SUCCEEDED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    gid: str
    branch_id: str
    phase: _types_pb2.Phase
    succeeded: _participant_pb2.Succeeded
    refused: _participant_pb2.Refused
    def __init__(self, gid: _Optional[str] = ..., branch_id: _Optional[str] = ..., phase: _Optional[_Union[_types_pb2.Phase, str]] = ..., succeeded: _Optional[_Union[_participant_pb2.Succeeded, _Mapping]] = ..., refused: _Optional[_Union[_participant_pb2.Refused, _Mapping]] = ...) -> None: ...

class TransactionReply(_message.Message):
    __slots__ = ("transaction",)
    TRANSACTION_FIELD_NUMBER: _ClassVar[int]
    transaction: _types_pb2.Transaction
    def __init__(self, transaction: _Optional[_Union[_types_pb2.Transaction, _Mapping]] = ...) -> None: ...

class Request(_message.Message):
    __slots__ = ("id", "begin", "register", "confirm", "cancel", "submit_saga", "get", "complete_branch", "list", "signal_saga")
    ID_FIELD_NUMBER: _ClassVar[int]
    BEGIN_FIELD_NUMBER: _ClassVar[int]
    TRY_FIELD_NUMBER: _ClassVar[int]
    REGISTER_FIELD_NUMBER: _ClassVar[int]
    CONFIRM_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    SUBMIT_SAGA_FIELD_NUMBER: _ClassVar[int]
    GET_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_BRANCH_FIELD_NUMBER: _ClassVar[int]
    LIST_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_SAGA_FIELD_NUMBER: _ClassVar[int]
    id: int
    begin: BeginRequest
    register: RegisterRequest
    confirm: ConfirmRequest
    cancel: CancelRequest
    submit_saga: SubmitSagaRequest
    get: GetRequest
    complete_branch: CompleteBranchRequest
    list: ListRequest
    signal_saga: SignalSagaRequest
    def __init__(self, id: _Optional[int] = ..., begin: _Optional[_Union[BeginRequest, _Mapping]] = ..., register: _Optional[_Union[RegisterRequest, _Mapping]] = ..., confirm: _Optional[_Union[ConfirmRequest, _Mapping]] = ..., cancel: _Optional[_Union[CancelRequest, _Mapping]] = ..., submit_saga: _Optional[_Union[SubmitSagaRequest, _Mapping]] = ..., get: _Optional[_Union[GetRequest, _Mapping]] = ..., complete_branch: _Optional[_Union[CompleteBranchRequest, _Mapping]] = ..., list: _Optional[_Union[ListRequest, _Mapping]] = ..., signal_saga: _Optional[_Union[SignalSagaRequest, _Mapping]] = ..., **kwargs) -> None: ...

class Response(_message.Message):
    __slots__ = ("id", "transaction", "error", "list")
    ID_FIELD_NUMBER: _ClassVar[int]
    TRANSACTION_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    LIST_FIELD_NUMBER: _ClassVar[int]
    id: int
    transaction: _types_pb2.Transaction
    error: _types_pb2.Error
    list: ListReply
    def __init__(self, id: _Optional[int] = ..., transaction: _Optional[_Union[_types_pb2.Transaction, _Mapping]] = ..., error: _Optional[_Union[_types_pb2.Error, _Mapping]] = ..., list: _Optional[_Union[ListReply, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("client", "participant", "operations", "call_credits", "sdk_version")
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANT_FIELD_NUMBER: _ClassVar[int]
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    CALL_CREDITS_FIELD_NUMBER: _ClassVar[int]
    SDK_VERSION_FIELD_NUMBER: _ClassVar[int]
    client: str
    participant: str
    operations: _containers.RepeatedCompositeFieldContainer[_types_pb2.Operation]
    call_credits: int
    sdk_version: str
    def __init__(self, client: _Optional[str] = ..., participant: _Optional[str] = ..., operations: _Optional[_Iterable[_Union[_types_pb2.Operation, _Mapping]]] = ..., call_credits: _Optional[int] = ..., sdk_version: _Optional[str] = ...) -> None: ...

class ClientFrame(_message.Message):
    __slots__ = ("hello", "requests", "replies", "draining")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    REPLIES_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    requests: _containers.RepeatedCompositeFieldContainer[Request]
    replies: _containers.RepeatedCompositeFieldContainer[_participant_pb2.BranchReply]
    draining: bool
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., requests: _Optional[_Iterable[_Union[Request, _Mapping]]] = ..., replies: _Optional[_Iterable[_Union[_participant_pb2.BranchReply, _Mapping]]] = ..., draining: _Optional[bool] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("node_id", "server_version", "peers", "request_credits", "message_bytes_max", "payload_bytes_max", "address")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    SERVER_VERSION_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_CREDITS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    server_version: str
    peers: _containers.RepeatedScalarFieldContainer[str]
    request_credits: int
    message_bytes_max: int
    payload_bytes_max: int
    address: str
    def __init__(self, node_id: _Optional[str] = ..., server_version: _Optional[str] = ..., peers: _Optional[_Iterable[str]] = ..., request_credits: _Optional[int] = ..., message_bytes_max: _Optional[int] = ..., payload_bytes_max: _Optional[int] = ..., address: _Optional[str] = ...) -> None: ...

class Peers(_message.Message):
    __slots__ = ("addresses",)
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    addresses: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, addresses: _Optional[_Iterable[str]] = ...) -> None: ...

class ServerFrame(_message.Message):
    __slots__ = ("welcome", "responses", "calls", "draining", "peers")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    RESPONSES_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    responses: _containers.RepeatedCompositeFieldContainer[Response]
    calls: _containers.RepeatedCompositeFieldContainer[_participant_pb2.BranchCall]
    draining: bool
    peers: _containers.RepeatedCompositeFieldContainer[Peers]
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., responses: _Optional[_Iterable[_Union[Response, _Mapping]]] = ..., calls: _Optional[_Iterable[_Union[_participant_pb2.BranchCall, _Mapping]]] = ..., draining: _Optional[bool] = ..., peers: _Optional[_Iterable[_Union[Peers, _Mapping]]] = ...) -> None: ...
