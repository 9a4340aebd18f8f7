"""Frozen values that cost no more than plain ones.

Type checkers see ``dataclasses.dataclass(frozen=True)`` and reject every assignment to
a field. At run time the class is an ordinary one, because a frozen class sets each
field through a function call: measured, that was an eighth of all the processor time
of a coordinator under load.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    from collections.abc import Callable
    from dataclasses import dataclass as _dataclass

    def dataclass(*, frozen: bool, slots: bool) -> Callable[[type], type]:
        """As the original, but immutable in the eyes of type checkers alone."""
        return _dataclass(slots=slots, unsafe_hash=frozen)


__all__ = ["dataclass"]
