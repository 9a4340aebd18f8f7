"""Participants that this node calls at an address of theirs.

What users are told of them is in docs/push-participants.md.

``channel`` is how an address is reached, ``link`` carries calls there and answers back,
``connection`` keeps one address connected, ``targets`` are all of them.
"""
