"""The failpoint walk: processes that kill themselves at every persisted step.

A *point* is the name of a persisted step. Each is passed twice, ``before`` its commit
and ``after`` it. The walk arms one of them in a real process, lets a transaction run
into it, starts the process again on the same database, and holds the end against the
rules: the transaction ends, once, as its client was told, with exactly the effects
that this end demands.
"""
