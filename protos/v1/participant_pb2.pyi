from protos.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DescribeRequest(_message.Message):
    __slots__ = ("participant",)
    PARTICIPANT_FIELD_NUMBER: _ClassVar[int]
    participant: str
    def __init__(self, participant: _Optional[str] = ...) -> None: ...

class DescribeReply(_message.Message):
    __slots__ = ("participant", "operations", "call_credits", "sdk_version")
    PARTICIPANT_FIELD_NUMBER: _ClassVar[int]
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    CALL_CREDITS_FIELD_NUMBER: _ClassVar[int]
    SDK_VERSION_FIELD_NUMBER: _ClassVar[int]
    participant: str
    operations: _containers.RepeatedCompositeFieldContainer[_types_pb2.Operation]
    call_credits: int
    sdk_version: str
    def __init__(self, participant: _Optional[str] = ..., operations: _Optional[_Iterable[_Union[_types_pb2.Operation, _Mapping]]] = ..., call_credits: _Optional[int] = ..., sdk_version: _Optional[str] = ...) -> None: ...

class BranchCall(_message.Message):
    __slots__ = ("call_id", "namespace", "gid", "branch_id", "operation", "phase", "attempt", "input", "output", "timeout_ms", "began_at_ms", "depth", "reconsider")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    GID_FIELD_NUMBER: _ClassVar[int]
    BRANCH_ID_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    BEGAN_AT_MS_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    RECONSIDER_FIELD_NUMBER: _ClassVar[int]
    call_id: int
    namespace: str
    gid: str
    branch_id: str
    operation: str
    phase: _types_pb2.Phase
    attempt: int
    input: _types_pb2.Payload
    output: _types_pb2.Payload
    timeout_ms: int
    began_at_ms: int
    depth: int
    reconsider: bool
    def __init__(self, call_id: _Optional[int] = ..., namespace: _Optional[str] = ..., gid: _Optional[str] = ..., branch_id: _Optional[str] = ..., operation: _Optional[str] = ..., phase: _Optional[_Union[_types_pb2.Phase, str]] = ..., attempt: _Optional[int] = ..., input: _Optional[_Union[_types_pb2.Payload, _Mapping]] = ..., output: _Optional[_Union[_types_pb2.Payload, _Mapping]] = ..., timeout_ms: _Optional[int] = ..., began_at_ms: _Optional[int] = ..., depth: _Optional[int] = ..., reconsider: _Optional[bool] = ...) -> None: ...

class Succeeded(_message.Message):
    __slots__ = ("output",)
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    output: _types_pb2.Payload
    def __init__(self, output: _Optional[_Union[_types_pb2.Payload, _Mapping]] = ...) -> None: ...

class Refused(_message.Message):
    __slots__ = ("code", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class Pending(_message.Message):
    __slots__ = ("retry_after_ms",)
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    retry_after_ms: int
    def __init__(self, retry_after_ms: _Optional[int] = ...) -> None: ...

class Failed(_message.Message):
    __slots__ = ("code", "message", "retry_after_ms", "output")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    retry_after_ms: int
    output: _types_pb2.Payload
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ..., retry_after_ms: _Optional[int] = ..., output: _Optional[_Union[_types_pb2.Payload, _Mapping]] = ...) -> None: ...

class BranchReply(_message.Message):
    __slots__ = ("call_id", "succeeded", "refused", "pending", "failed")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    SUCCEEDED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    PENDING_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    call_id: int
    succeeded: Succeeded
    refused: Refused
    pending: Pending
    failed: Failed
    def __init__(self, call_id: _Optional[int] = ..., succeeded: _Optional[_Union[Succeeded, _Mapping]] = ..., refused: _Optional[_Union[Refused, _Mapping]] = ..., pending: _Optional[_Union[Pending, _Mapping]] = ..., failed: _Optional[_Union[Failed, _Mapping]] = ...) -> None: ...
