"""Mutants that no test can notice, by module, with the reason.

Keys are what the run prints: the text before and after the change.
"""

EQUIVALENT: dict[str, dict[str, str]] = {}
