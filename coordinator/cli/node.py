"""``tercet serve`` and ``tercet dev``: run a node of the coordinator."""

import asyncio
import gc
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import typer

from coordinator.cli import option, output
from coordinator.cli.failure import CommandFailed, ExitCode, invalid
from coordinator.config import ServeConfig, load_serve
from coordinator.core.errors import CoordinatorError

DEV_DIR = ".tercet"

GARBAGE_OBJECTS = (20_000, 20, 10)
"""How many new objects a node's collector waits for, and how many rounds of the younger
generation. What transactions leave goes without it; walking through all that are in
memory every 700 objects took a fifth of the processor."""


LOCK_SECONDS = 0.002
"""For so long a thread that wants Python's lock waits before it asks for it. SQLite's
writer has to have it between two statements; Python's own figure is 5 ms. With 0.5 ms,
7,260 sagas a second ended, and 7,934 so (256 in flight, means of five windows in turn):
each change of hands has its price as well."""


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(serve)
    app.command()(dev)


def serve(
    *,
    db: option.Database = None,
    listen: option.Listen = None,
    advertise: option.Advertise = None,
    nodes: Annotated[
        int | None,
        typer.Option(
            "--nodes",
            min=1,
            max=option.NODES_MAX,
            help="So many nodes, each a process of its own that is started again when "
            "it dies: on the port of --listen, the next one, and so on.",
        ),
    ] = None,
    config_file: option.ConfigFile = None,
    insecure_off_loopback: Annotated[
        bool | None,
        typer.Option(
            "--insecure-off-loopback",
            help="DANGEROUS: listen where other machines reach it, without TLS and "
            "authentication (TERCET_INSECURE_OFF_LOOPBACK=yes).",
            show_default=False,
        ),
    ] = None,
    unsafe_database_settings: Annotated[
        bool | None,
        typer.Option(
            "--unsafe-database-settings",
            help="DANGEROUS: serve on a database whose settings can lose what was "
            "acknowledged (TERCET_UNSAFE_DATABASE_SETTINGS=yes).",
            show_default=False,
        ),
    ] = None,
    keep_finished: option.KeepFinished = None,
    archive: option.Archive = None,
    push: option.Push = None,
    log_level: option.LogLevel = None,
    log_format: option.LogFormat = None,
) -> None:
    """Run a node of the coordinator.

    SIGTERM or Ctrl-C stops it once what is in flight has finished. An empty embedded
    database gets its tables; one of an older version is refused.
    """
    flags = {
        "database_url": db,
        "listen": listen,
        "advertise": advertise,
        "config": config_file,
        # Click says False for a flag that was not given.
        "insecure_off_loopback": insecure_off_loopback or None,
        "unsafe_database_settings": unsafe_database_settings or None,
        "keep_finished": keep_finished,
        "archive": archive,
        "push": ",".join(push) if push else None,
        "log_level": log_level,
        "log_format": log_format,
    }
    config = load_serve(flags, os.environ)
    if nodes is not None:
        _supervise(config, nodes, flags)
        return
    _run(config, lambda address: output.line(f"tercet is ready on {address}"))


def dev(
    *,
    directory: Annotated[
        Path, typer.Option("--dir", metavar="PATH", help="Where the database lives.")
    ] = Path(DEV_DIR),
    listen: option.Listen = None,
    push: option.Push = None,
    log_level: option.LogLevel = None,
    log_format: option.LogFormat = None,
) -> None:
    """Run a coordinator to develop with.

    Its embedded database is made when it is not there yet.
    """
    database = directory / "dev.db"
    config = load_serve(
        {
            "database_url": _sqlite_url(database),
            "listen": listen,
            "push": ",".join(push) if push else None,
            "log_level": log_level,
            "log_format": log_format,
        },
        os.environ,
    )
    _make_directory(directory)
    _run(config, lambda address: _welcome(address, database))


def _run(config: ServeConfig, on_ready: Callable[[str], None]) -> None:
    from coordinator import telemetry

    telemetry.configure(level=config.log_level, log_format=config.log_format)
    log = telemetry.get_logger()
    _prepare_database(config.database_url)
    if config.insecure_off_loopback:
        output.note(
            "WARNING: --insecure-off-loopback: without TLS and authentication, "
            f"anybody who reaches {config.listen} can move money"
        )
        log.warning(telemetry.INSECURE_LISTENER_OPENED, listen=config.listen)
    if config.unsafe_database_settings:
        output.note(
            "WARNING: --unsafe-database-settings: what was acknowledged can be lost if "
            "the database's settings say so"
        )
    for target in config.push:
        if target.is_unsafe:
            output.note(
                f"WARNING: push.{target.participant}: insecure_off_loopback: others can"
                f" read or forge what is called at {target.address}"
            )
    # gRPC's own lines would stand between ours; what they say is raised as well.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from coordinator import bootstrap

    def ready(address: str) -> None:
        # What is here now stays until the end, and need not be looked at again.
        gc.freeze()
        gc.set_threshold(*GARBAGE_OBJECTS)
        sys.setswitchinterval(LOCK_SECONDS)
        on_ready(address)

    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(bootstrap.serve(config, ready))
    except OSError as error:
        raise CommandFailed(ExitCode.REFUSED, f"listen: {error}") from None
    except CoordinatorError:
        raise
    except Exception:
        log.exception(telemetry.NODE_FAILED)
        raise


def _supervise(
    config: ServeConfig, nodes: int, flags: Mapping[str, str | bool | None]
) -> None:
    from coordinator import telemetry
    from coordinator.cli.supervisor import environments, supervise

    each = environments(config, nodes, flags)
    telemetry.configure(level=config.log_level, log_format=config.log_format)
    _prepare_database(config.database_url)
    code = asyncio.run(supervise(each, output.text, drain_seconds=config.drain_seconds))
    if code:
        raise typer.Exit(code)


def _prepare_database(url: str) -> None:
    """Give an empty embedded database its tables; refuse what is not current."""
    from coordinator import telemetry
    from coordinator.storage.sql import migrate

    match migrate.state(url):
        case migrate.SchemaState.CURRENT:
            return
        case migrate.SchemaState.EMPTY if not migrate.is_embedded(url):
            raise CommandFailed(
                ExitCode.REFUSED,
                "database_url: there are no tables yet; run `tercet db upgrade`",
            )
        case migrate.SchemaState.EMPTY:
            applied = migrate.upgrade(url)
            telemetry.get_logger().info(telemetry.DATABASE_MIGRATED, applied=applied)
        case migrate.SchemaState.BEHIND:
            raise CommandFailed(
                ExitCode.REFUSED,
                "database_url: the tables are of an older version; make a backup, "
                "then run `tercet db upgrade`",
            )
        case migrate.SchemaState.AHEAD:
            raise CommandFailed(
                ExitCode.REFUSED,
                "database_url: the tables are of a newer version; install that "
                "version of Tercet",
            )


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _sqlite_url(path: Path) -> str:
    if "?" in str(path):
        raise invalid("--dir", f"{str(path)!r} holds a '?', which ends a URL's path")
    return f"sqlite:///{path}"


def _make_directory(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # So that nobody commits a database by accident.
        (directory / ".gitignore").write_text("*\n")
    except OSError as error:
        raise invalid(
            "--dir", f"{str(directory)!r} cannot be used: {error.strerror}"
        ) from None


def _welcome(address: str, database: Path) -> None:
    server = "" if address == "127.0.0.1:7700" else f" --server {address}"
    output.panel(
        "Tercet is ready",
        [
            f"address   {address}",
            f"database  {database}",
            "",
            "Try, in another terminal:",
            f"  tercet operations{server}",
            f"  tercet saga publish{server} FILE",
            f"  tercet tx list{server}",
            "",
            "Ctrl-C stops it; the database stays.",
        ],
    )
