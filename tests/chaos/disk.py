"""A small file system under the store's data, which can be filled to the last byte.

It lives in the mount namespace of the run, which ends with the run's last process, so
that nothing stays mounted even after SIGKILL. That needs root.
"""

import os
import pwd
import subprocess
import sys
from pathlib import Path
from shutil import which

MEGABYTES_FIRST = 512
MEGABYTES_PER_SECOND = 0.7
"""What a run writes in a second, with room to spare."""

_OWN = "CHAOS_HAS_ITS_OWN_MOUNTS"
_BLOCK = 1024 * 1024
_LEAST = 4096


def take_own_mounts() -> None:
    """Go on in a mount namespace of our own, where that is allowed."""
    if os.geteuid() != 0 or _OWN in os.environ or which("unshare") is None:
        return
    unshare = ["unshare", "--mount", "--propagation", "private", "--"]
    if subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode:
        return
    command = [*unshare, sys.executable, "-m", "tests.chaos", *sys.argv[1:]]
    os.execvpe(command[0], command, {**os.environ, _OWN: "yes"})


class SmallDisk:
    """A tmpfs at ``folder``."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self._folder = folder
        self._megabytes = round(MEGABYTES_FIRST + MEGABYTES_PER_SECOND * seconds)
        self._is_mounted = False

    @property
    def is_possible(self) -> bool:
        """Whether this run may mount."""
        return _OWN in os.environ

    def mount(self, *, is_shared: bool) -> None:
        """Before anything is there; ``is_shared`` with the account of servers."""
        self._folder.mkdir(exist_ok=True)
        account = pwd.getpwnam("nobody" if is_shared else "root")
        rights = f"uid={account.pw_uid},gid={account.pw_gid},mode=700"
        options = f"size={self._megabytes}m,{rights}"
        command = ["mount", "-t", "tmpfs", "-o", options, "tercet", str(self._folder)]
        subprocess.run(command, check=True)
        self._is_mounted = True

    def unmount(self) -> None:
        """Data and all."""
        if self._is_mounted:
            subprocess.run(["umount", "--lazy", str(self._folder)], check=False)

    def fill(self) -> bool:
        """Take all that is free; whether nothing is left. Blocks."""
        block = _BLOCK
        with self._ballast.open("wb", buffering=0) as file:
            while block >= _LEAST:
                try:
                    os.posix_fallocate(file.fileno(), file.tell(), block)
                    file.seek(block, os.SEEK_CUR)
                except OSError:
                    block //= 2
        return os.statvfs(self._folder).f_bavail == 0

    def free(self) -> None:
        """Give it back."""
        self._ballast.unlink(missing_ok=True)

    @property
    def _ballast(self) -> Path:
        return self._folder / "ballast"
