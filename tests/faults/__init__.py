"""Faults, each made by one command: ``python -m tests.faults F19 --store postgresql``.

A fault sets up processes and servers of its own, injects, judges, and prints one line,
``FAULT F19 OK store=… figure=…`` or ``FAULT F19 FAILED …``. What is promised of each
fault, and the figures that were seen, stand in ``docs/faults.md``.
"""
