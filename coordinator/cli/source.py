"""Files that a command reads: bounded, UTF-8, and a clear word when they are not."""

from pathlib import Path

from coordinator.cli.failure import invalid

FILE_BYTES_MAX = 1024 * 1024
"""1 MiB, as a message: nothing larger could be sent anyway."""


def read_text(field: str, name: str) -> str:
    """The text of a file.

    Args:
        field: the argument that named it, for messages.
    """
    if not name:
        raise invalid(field, "expected the name of a file, not an empty one")
    try:
        with Path(name).open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        raise invalid(field, f"there is no file {name!r}") from None
    except IsADirectoryError:
        raise invalid(field, f"{name!r} is a directory; expected a file") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "this cannot be a file's name"
        raise invalid(field, f"{name!r} cannot be read: {why}") from None
    if len(data) > FILE_BYTES_MAX:
        raise invalid(field, f"{name!r} is larger than 1 MiB")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise invalid(
            field, f"{name!r} is not UTF-8 (byte {error.start}); save it as UTF-8"
        ) from None
