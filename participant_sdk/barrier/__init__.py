"""The participant's admission: every call takes effect once, in the right order.

``rules`` decides, ``sql`` reads and writes, ``table`` is where.
"""

from participant_sdk.barrier.table import barrier_table, create_barrier_table

__all__ = ["barrier_table", "create_barrier_table"]
