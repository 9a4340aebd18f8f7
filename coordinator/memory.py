"""How much memory this process may use."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

_GROUPS: Final = Path("/proc/self/cgroup")
_MOUNT: Final = Path("/sys/fs/cgroup")


def available_bytes(groups: Path = _GROUPS, mount: Path = _MOUNT) -> int:
    """The machine's, or that of its control group (a container, a service) if less.

    Args:
        groups: the list of this process's groups.
        mount: where they are found.
    """
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_limits(groups, mount)])


def _limits(groups: Path, mount: Path) -> Iterator[int]:
    """Of the group and of all around it; a container sees its own as the outermost."""
    for line in _text(groups).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            folder, name = mount, "memory.max"  # version 2
        elif controllers == "memory":
            folder, name = mount / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = PurePosixPath(path)
        for around in (group, *group.parents):
            text = _text(folder / around.relative_to("/") / name)
            if text.isdecimal():
                yield int(text)


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
