"""What a planted bug is."""

from typing import NamedTuple


class Patch(NamedTuple):
    """Replace a text that occurs exactly once in a module."""

    module: str
    old: str
    new: str


class Mutant(NamedTuple):
    """A bug with a name, and what is wrong with it."""

    name: str
    wrong: str
    patches: tuple[Patch, ...]


def bug(name: str, wrong: str, *patch: str) -> Mutant:
    """A bug; ``patch`` is module, old text and new text, as often as it takes."""
    triples = zip(patch[::3], patch[1::3], patch[2::3], strict=True)
    return Mutant(name, wrong, tuple(Patch(*triple) for triple in triples))
