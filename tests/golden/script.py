"""Transcripts as text: commands, and below each the trace that it left.

A line that starts with ``> `` is a command; ``| `` lines below it are its body (a
saga's YAML). The lines below those that start with two blanks are what happened.
Everything else is said to the reader and kept as it is.
"""

from dataclasses import dataclass, field
from typing import Protocol

COMMAND = "> "
BODY = "| "
TRACE = "  "


class ScriptError(Exception):
    """The script asks for something that there is not."""


class Stage(Protocol):
    """Where commands happen."""

    async def do(self, command: str, body: str) -> list[str]:
        """Carry a command out; the trace that it left."""

    async def close(self) -> None:
        """End everything that the commands started."""


@dataclass
class Command:
    """One command, its body, and the trace that stands below it."""

    text: str
    body: list[str] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)


def parse(text: str) -> list[str | Command]:
    """Comments (each a line) and commands, in order."""
    parts: list[str | Command] = []
    for line in text.splitlines():
        last = parts[-1] if parts else ""
        if line.startswith(COMMAND):
            parts.append(Command(line.removeprefix(COMMAND)))
        elif line.startswith(BODY.rstrip()) and isinstance(last, Command):
            last.body.append(line.removeprefix(BODY.rstrip()).removeprefix(" "))
        elif line.startswith(TRACE) and isinstance(last, Command):
            last.trace.append(line.removeprefix(TRACE))
        else:
            parts.append(line)
    return parts


def render(parts: list[str | Command]) -> str:
    """The text that :func:`parse` would read these from."""
    lines: list[str] = []
    for part in parts:
        if isinstance(part, str):
            lines.append(part)
        else:
            lines.append(COMMAND + part.text)
            lines += [(BODY + line).rstrip() for line in part.body]
            lines += [(TRACE + line).rstrip() for line in part.trace]
    return "\n".join(lines) + "\n"


async def replay(text: str, stage: Stage) -> str:
    """The same script with the trace that the code leaves today."""
    parts = parse(text)
    try:
        for number, part in enumerate(parts, 1):
            if isinstance(part, Command):
                try:
                    part.trace = await stage.do(part.text, "\n".join(part.body))
                except ScriptError as error:
                    told = f"part {number}, {part.text!r}: {error}"
                    raise ScriptError(told) from None
                part.trace = part.trace or ["(nothing is seen)"]
    finally:
        await stage.close()
    return render(parts)
