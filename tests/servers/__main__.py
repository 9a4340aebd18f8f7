"""``python -m tests.servers install [faults]``: what is missing, from Debian."""

import os
import shutil
import subprocess
import sys

from tests.servers.mariadb import MariaDB
from tests.servers.postgresql import PostgreSQL
from tests.servers.process import ServerFailed

# The programs alone: no service is set up, and none is started, but PostgreSQL's own.
_PACKAGES = {
    PostgreSQL: ["postgresql"],
    MariaDB: ["mariadb-server-core", "mariadb-client-core"],
}
_FOR_FAULTS = {"strace": "strace", "nft": "nftables"}
_WAIT_FOR_OTHERS = "DPkg::Lock::Timeout=300"


def main(arguments: list[str]) -> int:
    """Bring what is missing; say what to do where that cannot be done here."""
    if arguments not in (["install"], ["install", "faults"]):
        sys.stderr.write("usage: python -m tests.servers install [faults]\n")
        return 2
    missing = [
        name for kind in _PACKAGES if not _is_here(kind) for name in _names(kind)
    ]
    if "faults" in arguments:
        missing += [name for p, name in _FOR_FAULTS.items() if not shutil.which(p)]
    if not missing:
        return 0
    if os.geteuid() != 0:
        sys.stderr.write(f"as root: apt-get install {' '.join(missing)}\n")
        return 1
    apt = ["apt-get", "-qq", "-o", _WAIT_FOR_OTHERS]
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run([*apt, "update"], check=True, env=quiet)
    install = [*apt, "install", "--yes", "--no-install-recommends", *missing]
    subprocess.run(install, check=True, env=quiet, stdout=subprocess.DEVNULL)
    return 0


def _is_here(kind: type[PostgreSQL] | type[MariaDB]) -> bool:
    try:
        kind.programs()
    except ServerFailed:
        return False
    return True


def _names(kind: type[PostgreSQL] | type[MariaDB]) -> list[str]:
    return _PACKAGES[kind]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
