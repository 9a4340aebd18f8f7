"""Every order of events in small worlds: a model checker for the protocol.

**Real:** every decision. What an input means, what is due, who can be answered
(``coordinator.core.machine``), what a sweep takes up (``coordinator.core.sweep``), the
saga language's compiler, and the barrier with its order of claims and reads
(``participant_sdk.barrier``).

**Modelled:** what stands around the decisions. The engine's protocol (``engine.py``: a
resident copy, its backlog, compare-and-set, durable then act), one row and its
statements (``database.py``), a participant's local transaction (``participant.py``),
an initiator (``initiator.py``), and the network, which is whatever is under way, in no
order (``world.py``). The asyncio engine itself runs in ``tests/simulation``.

**Abstract:** time, which only stands before or after the deadline (``decisions.py``).

**Judged:** what is durable and what participants really did (``judge.py``), in every
state; and that an end can be reached from each (``search.py``).
"""
