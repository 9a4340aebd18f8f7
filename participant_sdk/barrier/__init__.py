"""The participant's admission: every call takes effect once, in the right order.

``rules`` decides, ``sql`` reads and writes, ``table`` is where, ``retention`` removes.
"""

from participant_sdk.barrier.retention import purge_barrier
from participant_sdk.barrier.table import barrier_table, create_barrier_table

__all__ = ["barrier_table", "create_barrier_table", "purge_barrier"]
