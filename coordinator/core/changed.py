"""A copy of a value with some fields changed.

What the copy costs matters: a transaction is copied for each of its facts. Type
checkers read ``dataclasses.replace``, so that a misspelt field or a wrong type is found
before it is run.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import replace as changed
else:
    from msgspec.structs import replace as changed

__all__ = ["changed"]
