"""Sagas in YAML that the tests of the kit put through their runs."""

from coordinator import saga_yaml
from coordinator.core.actions import CallBranch
from coordinator.core.definition import SagaDefinition
from coordinator.core.expressions import to_payload
from coordinator.core.model import Payload
from coordinator.saga_kit import stub

CHILD = """
apiVersion: tercet/v1
kind: Saga
metadata: {name: reserve-parts, version: 1.0.0}
timeout: 5m
steps:
- id: hold
  tcc: stock.hold
  input: {part: "${input.part}"}
- id: label
  call: print.label
  input: {hold: "${steps.hold.output.id}"}
  compensate: {call: print.void}
output: {label: "${steps.label.output.id}"}
"""

WHOLE = """
apiVersion: tercet/v1
kind: Saga
metadata: {name: whole, version: 1.0.0}
input:
  schema:
    type: object
    required: [parts, vip]
    properties:
      parts: {type: array, minItems: 3, items: {type: string}}
      vip: {type: boolean}
timeout: 30m
steps:
- id: reserve
  needs: []
  tcc: treasury.funds
  input: {a: 1}
- id: kyc
  needs: []
  if: ${input.vip && size(input.parts) > 1}
  call: compliance.check
  compensate: none
- id: parts
  needs: [reserve, kyc]
  forEach: ${input.parts}
  maxParallel: 2
  saga: reserve-parts@1.0.0
  input: {part: "${item}"}
- id: cool
  wait: 30s
- id: approve
  await: approved
  timeout: 2m
- id: book
  call: ledger.post
  fallback: {call: old.post, input: {x: 2}, compensate: {call: old.reverse}}
  compensate: {call: ledger.reverse, input: {entry: "${steps.book.output.entry}"}}
- id: gift
  needs: [approve]
  optional: true
  call: gift.order
  compensate: {call: gift.cancel}
- id: pay
  needs: [book, gift]
  pivot: true
  call: rails.transfer
- id: mail
  call: mail.send
  optional: true
  compensate: none
- id: archive
  needs: [pay]
  call: archive.put
  compensate: none
output: {transfer: "${steps.pay.output.id}"}
"""

CHAIN = """
apiVersion: tercet/v1
kind: Saga
metadata: {name: chain, version: 1.0.0}
timeout: 5m
steps:
- id: first
  call: a.do
  compensate: {call: a.undo, input: {was: "${steps.first.output.id}"}}
- id: second
  tcc: b.reserve
- id: third
  call: c.do
  input: {id: "${steps.first.output.id}"}
  compensate: {call: c.undo}
"""


def saga(text: str, *children: str) -> SagaDefinition:
    """The definition of the first text; the others are its children."""
    files = [(f"{place}.yaml", each) for place, each in enumerate((text, *children))]
    definition, findings = saga_yaml.check_files(files)[0]
    assert definition is not None, findings
    return definition


def whole() -> SagaDefinition:
    """A saga with every element of the language."""
    return saga(WHOLE, CHILD)


def answers(definition: SagaDefinition):
    """Answers with whatever the saga reads of it."""
    read = stub.read_outputs(definition)

    def answer(call: CallBranch) -> Payload:
        return to_payload(read.get(stub.step_name(call.branch_id), {}))

    return answer


INPUT = to_payload({"parts": ["a", "b", "c"], "vip": True})
