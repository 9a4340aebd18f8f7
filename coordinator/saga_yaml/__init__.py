"""Saga definitions as text: read safely, checked whole, compiled for the core."""

from coordinator.saga_yaml.children import Sagas
from coordinator.saga_yaml.difference import difference
from coordinator.saga_yaml.findings import Code, Finding, SagaRefused
from coordinator.saga_yaml.input_schema import find_input_problems
from coordinator.saga_yaml.load import check, parse, read_data
from coordinator.saga_yaml.normal import normal_form
from coordinator.saga_yaml.several import check_files, children_first, find_children

__all__ = [
    "Code",
    "Finding",
    "SagaRefused",
    "Sagas",
    "check",
    "check_files",
    "children_first",
    "difference",
    "find_children",
    "find_input_problems",
    "normal_form",
    "parse",
    "read_data",
]
