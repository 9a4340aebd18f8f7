"""The rules of Tercet, pure: no clock, no random source, no I/O, no event loop.

Production, the simulator and the test kit run this same code. Start reading at
:mod:`coordinator.core.machine`, then :mod:`~coordinator.core.tcc` and
:mod:`~coordinator.core.saga`.
"""
