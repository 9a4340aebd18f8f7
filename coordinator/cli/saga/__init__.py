"""``tercet saga``: check, plan, draw, rehearse, publish, compare and run sagas."""

import typer

from coordinator.cli import option
from coordinator.cli.saga import check, graph, plan, published, run, signal, trial

app = typer.Typer(
    help="Sagas: check, plan, draw, test, publish, compare and run them.",
    invoke_without_command=True,
    callback=option.show_help,
)

for _module in (check, plan, graph, trial, published, run, signal):
    _module.add_to(app)
