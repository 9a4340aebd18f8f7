"""A loan is paid out by four services, each with a database of its own (Saga)."""

from pathlib import Path

DEFINITION = Path(__file__).parent / "disburse-loan.yaml"
