"""Colours of the states; each is also written, so that none is needed to read it."""

COLOURS = {
    "done": ("#d9f0d9", "#2c6b2c"),
    "busy": ("#d6e6fa", "#1f4e8c"),
    "back": ("#ffe2bf", "#9a5a00"),
    "undone": ("#efe6da", "#6e5530"),
    "no": ("#f9d6d5", "#97201c"),
    "nothing": ("#ececec", "#666666"),
    "hand": ("#e9dcf5", "#5b2d86"),
}
"""Fill and stroke by meaning."""

MEANINGS = {
    "done": "has succeeded",
    "busy": "is under way",
    "back": "is being undone",
    "undone": "is undone",
    "no": "was refused",
    "nothing": "was skipped or given up",
    "hand": "was settled by hand",
}

_OF_STATUS = {
    "SUCCEEDED": "done",
    "TRIED": "done",
    "CONFIRMED": "done",
    "REGISTERED": "busy",
    "TRYING": "busy",
    "RUNNING": "busy",
    "WAITING": "busy",
    "CONFIRMING": "busy",
    "COMPENSATING": "back",
    "CANCELLING": "back",
    "COMPENSATED": "undone",
    "CANCELLED": "undone",
    "REFUSED": "no",
    "SKIPPED": "nothing",
    "ABANDONED": "nothing",
    "RESOLVED": "hand",
}


def colour_of(status: str) -> str:
    """The colour's name for a branch's status."""
    return _OF_STATUS.get(status, "nothing")
