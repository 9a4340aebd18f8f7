"""Where transactions are durable: the ports ``Store`` and ``Queries``, twice.

:mod:`~coordinator.storage.memory` is the reference that tests and the simulator
run on, :mod:`coordinator.storage.sql` is what a bank runs. One suite of tests holds
both to the same promises.
"""
