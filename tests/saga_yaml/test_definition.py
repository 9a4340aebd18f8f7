"""From text to definition: what is accepted, what it becomes, and what is refused."""

import json
from dataclasses import replace

import pytest

from coordinator.core.backoff import FORWARD, PHASE_TWO
from coordinator.core.definition import (
    Constant,
    Interpolation,
    Reference,
    TemplateList,
    TemplateMap,
)
from coordinator.core.errors import InvalidRequest
from coordinator.core.model import Operation, OperationKind
from coordinator.saga_yaml import SagaRefused, check, parse

HEADER = "apiVersion: tercet/v1\nkind: Saga\nmetadata: {name: loan, version: 1.0.0}\n"
STEP = "steps:\n- id: a\n  call: bank.debit\n"

LOAN = """\
# yaml-language-server: $schema=./saga.schema.json
apiVersion: tercet/v1
kind: Saga
metadata: {name: disburse-loan, version: 1.2.0, labels: {team: lending, area: retail}}
input:
  schema: {type: object, required: [loanId, amount], properties: {amount: {minimum: 1}}}
timeout: 20m
defaults:
  retry: {maxAttempts: 7, initialInterval: 1s, backoffCoefficient: 3, jitter: 0.2}
  timeout: 3s
  compensation: {retry: {maxInterval: 40s}, attentionAfter: 12}
steps:
- id: reserve
  call: treasury.reserve
  input: {loanId: "${input.loanId}", amount: "${ input.amount }", fixed: [1, {x: y}]}
- id: kyc
  needs: []                        # starts at once, beside reserve
  call: compliance.check
  retry: {nonRetryable: [SANCTIONED], maxAttempts: 2}
  compensate: none
- id: ledger
  needs: [reserve, kyc]
  call: ledger.post
  timeout: PT2S
  input:
    text: "loan ${input.loanId}: ${steps.kyc.output.score}"
    "on": [a, "${saga.gid}"]
  compensate:
    call: ledger.reverse
    input: {entry: "${steps.ledger.output.entries[0]['id']}"}
    retry: {initialInterval: 500ms}
    timeout: 1m
- id: pay-out
  call: rails.transfer
  input: ${steps.ledger.output}
output: {transferId: "${steps['pay-out'].output.id}"}
"""


def codes(text, operations=None):
    return [finding.code for finding in check(text, operations=operations)[1]]


def steps(*lines):
    return HEADER + "steps:\n" + "".join(f"{line}\n" for line in lines)


def test_a_whole_saga_becomes_a_definition():
    """Every element of the language ends where the core reads it."""
    saga = parse(LOAN)

    assert (saga.name, saga.version) == ("disburse-loan", "1.2.0")
    assert saga.timeout_ms == 20 * 60_000
    assert saga.labels == (("area", "retail"), ("team", "lending"))
    assert json.loads(saga.input_schema)["required"] == ["loanId", "amount"]
    assert [step.step_id for step in saga.steps] == [
        "reserve",
        "kyc",
        "ledger",
        "pay-out",
    ]
    assert saga.output == TemplateMap(
        (
            (
                "transferId",
                Reference(
                    ("steps", "pay-out", "output", "id"), "steps['pay-out'].output.id"
                ),
            ),
        )
    )


def test_needs_default_to_the_step_above():
    """Without ``needs`` the step above; ``[]`` is nothing; the first needs nothing."""
    saga = parse(LOAN)

    assert [step.needs for step in saga.steps] == [
        (),
        (),
        ("reserve", "kyc"),
        ("ledger",),
    ]


def test_retry_and_timeout_are_filled_key_by_key():
    """A step's own word, else ``defaults``, else the built-in."""
    reserve, kyc, ledger, _ = parse(LOAN).steps

    assert reserve.retry.attempt_max == 7
    assert reserve.retry.initial_interval_ms == 1000
    assert reserve.retry.coefficient == 3.0
    assert reserve.retry.interval_max_ms == FORWARD.interval_max_ms
    assert reserve.timeout_ms == 3000
    assert kyc.retry.attempt_max == 2
    assert kyc.retry.jitter == 0.2
    assert kyc.retry.non_retryable == {"SANCTIONED"}
    assert ledger.timeout_ms == 2000


def test_compensations():
    """Absent: the operation itself with the step's input; none; or as written."""
    reserve, kyc, ledger, _ = parse(LOAN).steps

    assert reserve.compensation.operation == "treasury.reserve"
    assert reserve.compensation.input is None
    assert reserve.compensation.timeout_ms == 3000
    assert reserve.compensation.attention_after == 12
    assert kyc.compensation is None
    assert ledger.compensation.operation == "ledger.reverse"
    assert ledger.compensation.timeout_ms == 60_000
    assert ledger.compensation.retry.initial_interval_ms == 500
    assert ledger.compensation.retry.interval_max_ms == 40_000
    assert ledger.compensation.input == TemplateMap(
        (
            (
                "entry",
                Reference(
                    ("steps", "ledger", "output", "entries", 0, "id"),
                    "steps.ledger.output.entries[0]['id']",
                ),
            ),
        )
    )


def test_the_smallest_saga_has_documented_defaults():
    """15 minutes, 10 seconds an attempt, the core's policies, attention after 10."""
    saga = parse(HEADER + STEP)
    (step,) = saga.steps

    assert saga.timeout_ms == 15 * 60_000
    assert saga.output is None
    assert saga.input_schema == ""
    assert step.timeout_ms == 10_000
    assert step.retry == FORWARD
    assert step.input == Constant({})
    assert step.compensation.retry == PHASE_TWO
    assert step.compensation.attention_after == 10


def test_templates_keep_types_and_fold_constants():
    """One expression is a reference, inside text it is text, the rest is constant."""
    reserve, _, ledger, pay_out = parse(LOAN).steps

    assert reserve.input == TemplateMap(
        (
            ("loanId", Reference(("input", "loanId"), "input.loanId")),
            ("amount", Reference(("input", "amount"), "input.amount")),
            ("fixed", Constant([1, {"x": "y"}])),
        )
    )
    assert ledger.input == TemplateMap(
        (
            (
                "text",
                Interpolation(
                    (
                        "loan ",
                        Reference(("input", "loanId"), "input.loanId"),
                        ": ",
                        Reference(
                            ("steps", "kyc", "output", "score"),
                            "steps.kyc.output.score",
                        ),
                    )
                ),
            ),
            (
                "on",
                TemplateList((Constant("a"), Reference(("saga", "gid"), "saga.gid"))),
            ),
        )
    )
    assert pay_out.input == Reference(
        ("steps", "ledger", "output"), "steps.ledger.output"
    )


def test_s7_spelling_does_not_change_the_digest():
    """Comments, order of keys, quoting, defaults, units and JSON make no difference."""
    digest = parse(LOAN).digest
    assert digest.startswith("sha256:")
    assert len(digest) == 7 + 64

    respelled = LOAN
    for written, other in [
        ("# starts at once", "# at once"),
        (
            "name: disburse-loan, version: 1.2.0",
            'version: "1.2.0", name: disburse-loan',
        ),
        ("timeout: 20m", "timeout: PT1200S"),
        ("needs: [reserve, kyc]", "needs: [kyc, reserve]"),
        ("${ input.amount }", "${input.amount}"),
        ("compensate: none", 'needs: []\n  compensate: "none"'),
        ("  needs: []                        # at once, beside reserve\n", ""),
        ("backoffCoefficient: 3", "backoffCoefficient: 3.0, maxInterval: 30s"),
        ("- id: reserve\n", "- needs: []\n  id: reserve\n"),
        ("input: ${steps.ledger.output}", "input: '${steps[\"ledger\"].output}'"),
    ]:
        assert written in respelled
        respelled = respelled.replace(written, other)
    assert parse(respelled).digest == digest
    assert parse(LOAN.replace("\n", "\r\n")).digest == digest


def test_s7_json_has_the_digest_of_the_same_yaml():
    """JSON is YAML 1.2."""
    text = HEADER + (
        "timeout: 1m\n" + STEP + "  input: {n: 1, t: 'x ${input.a}'}\n"
        "  retry: {jitter: 0.5}\n"
    )
    document = {
        "steps": [
            {
                "input": {"t": "x ${input.a}", "n": 1},
                "call": "bank.debit",
                "id": "a",
                "retry": {"jitter": 0.5},
            }
        ],
        "timeout": "60s",
        "metadata": {"version": "1.0.0", "name": "loan"},
        "kind": "Saga",
        "apiVersion": "tercet/v1",
    }

    assert parse(json.dumps(document)).digest == parse(text).digest
    assert parse(json.dumps(document, indent=2)).digest == parse(text).digest


@pytest.mark.parametrize(
    ("written", "other"),
    [
        ("version: 1.2.0", "version: 1.2.1"),
        ("team: lending", "team: landing"),
        ("minimum: 1", "minimum: 2"),
        ("timeout: 20m", "timeout: 21m"),
        ("timeout: 3s", "timeout: 4s"),
        ("jitter: 0.2", "jitter: 0.3"),
        ("attentionAfter: 12", "attentionAfter: 13"),
        ("fixed: [1", "fixed: [2"),
        ("needs: [reserve, kyc]", "needs: [kyc]"),
        ("compensate: none", "compensate: {timeout: 1s}"),
        ("[SANCTIONED]", "[SANCTIONED, CLOSED]"),
        ("call: ledger.reverse", "call: ledger.void"),
        ("'pay-out'].output.id", "'pay-out'].output.no"),
        ("timeout: 1m", "timeout: 2m"),
    ],
)
def test_s7_what_is_said_changes_the_digest(written, other):
    """Two definitions that do different things never share a digest."""
    assert written in LOAN

    assert parse(LOAN.replace(written, other)).digest != parse(LOAN).digest


def test_s7_the_digest_is_the_same_in_every_release():
    """Running sagas are pinned to it: this value must never change."""
    assert parse(HEADER + STEP).digest == (
        "sha256:1bc39fc6e44ef43bdffe5b0f751a4a32b8c7a70a420a79da99c29a449019abf0"
    )


def test_all_findings_come_at_once_in_the_order_of_the_text():
    """One run shows everything, each with its line and column."""
    text = (
        "apiVersion: tercet/v2\nkind: Saga\nmetadata: {name: loan, version: 1.0}\n"
        "timeout: 30\nsteps:\n- id: a\n  cal: bank.debit\n- id: b\n"
        "  call: bank.debit\n  needs: [c]\n  input: {x: ${input.y}}\n"
        "  pivot: true\nextra: 1\n"
    )
    definition, findings = check(text, "loan.yaml")

    assert definition is None
    assert [(f.line, f.column, f.code) for f in findings] == [
        (1, 13, "SAGA013"),
        (3, 33, "SAGA011"),
        (4, 10, "SAGA014"),
        (7, 3, "SAGA010"),
        (10, 11, "SAGA030"),
        (11, 14, "SAGA005"),
        (12, 3, "SAGA015"),
        (13, 1, "SAGA010"),
    ]
    assert str(findings[3]) == (
        "loan.yaml:7:3: SAGA010 unknown key 'cal' in step; did you mean 'call'?"
    )


def test_a_refusal_carries_its_findings():
    """It is an InvalidRequest with a stable reason and one line a finding."""
    with pytest.raises(InvalidRequest) as caught:
        parse(HEADER + STEP + "x: 1\ny: 2\n", "a.yaml")
    refusal = caught.value

    assert isinstance(refusal, SagaRefused)
    assert refusal.detail_reason == "SAGA_REFUSED"
    assert str(refusal).splitlines() == [str(f) for f in refusal.findings]
    assert len(refusal.findings) == 2


def test_findings_are_at_most_a_hundred():
    """Nobody reads more, and a hostile text could ask for many."""
    text = HEADER + STEP + "".join(f"x{n}: 1\n" for n in range(500))

    assert len(check(text)[1]) == 100


@pytest.mark.parametrize("text", ["", "\n", "# only\n", "---\n", "---\n...\n"])
def test_an_empty_text_is_refused(text):
    """Nothing is no saga."""
    assert codes(text) == ["SAGA012"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[]", "SAGA011"),
        ("text", "SAGA011"),
        ("1", "SAGA011"),
        (HEADER + "steps: []\n", "SAGA013"),
        (HEADER + "steps: {}\n", "SAGA011"),
        (HEADER + "steps:\n", "SAGA011"),
        (HEADER + "steps: [x]\n", "SAGA011"),
        (HEADER + STEP + "output:\n", "SAGA011"),
        (HEADER + STEP + "timeout: [1s]\n", "SAGA011"),
        (HEADER + STEP + "timeout: 0s\n", "SAGA014"),
        (HEADER + STEP + "timeout: 366d\n", "SAGA014"),
        (HEADER + STEP + "timeout: 1h30m\n", "SAGA014"),
        (HEADER + STEP + "timeout: 1.5s\n", "SAGA014"),
        (HEADER + STEP + "timeout: P\n", "SAGA014"),
        (HEADER + STEP + "  timeout: 25h\n", "SAGA014"),
        (HEADER + STEP + "  timeout: true\n", "SAGA014"),
        (HEADER + STEP + "  retry: 3\n", "SAGA011"),
        (HEADER + STEP + "  retry: {maxAttempts: 0}\n", "SAGA013"),
        (HEADER + STEP + "  retry: {maxAttempts: 2.0}\n", "SAGA011"),
        (HEADER + STEP + "  retry: {maxAttempts: true}\n", "SAGA011"),
        (HEADER + STEP + "  retry: {backoffCoefficient: 0.5}\n", "SAGA013"),
        (HEADER + STEP + "  retry: {initialInterval: 1m}\n", "SAGA013"),
        (HEADER + STEP + "  retry: {nonRetryable: A}\n", "SAGA011"),
        (HEADER + STEP + "  retry: {nonRetryable: ['a b']}\n", "SAGA013"),
        (HEADER + STEP + "  input: text\n", "SAGA011"),
        (HEADER + STEP + "  input: [1]\n", "SAGA011"),
        (HEADER + STEP + "  needs: a\n", "SAGA011"),
        (HEADER + STEP + "  needs: [a]\n", "SAGA031"),
        (HEADER + STEP + "  needs: [1]\n", "SAGA011"),
        (HEADER + STEP + "  compensate: nothing\n", "SAGA013"),
        (HEADER + STEP + "  compensate: false\n", "SAGA011"),
        (HEADER + STEP + "  compensate: {retry: {maxAttempts: 3}}\n", "SAGA010"),
        (HEADER + STEP + "  compensate: {call: x}\n", "SAGA013"),
        (HEADER + STEP + "  input: {'${input.a}': 1}\n", "SAGA040"),
        (HEADER + STEP + "input: {schema: []}\n", "SAGA011"),
        (HEADER + STEP + "input: {schema: {type: strng}}\n", "SAGA013"),
        (HEADER + STEP + "input: {schema: {required: a}}\n", "SAGA011"),
        (HEADER + STEP + "input: {schema: {items: {pattern: a}}}\n", "SAGA015"),
        (
            HEADER + STEP + "input: {schema: {properties: {a: {minimum: x}}}}\n",
            "SAGA011",
        ),
        (HEADER.replace("loan", "lo an") + STEP, "SAGA013"),
        (HEADER.replace("loan", "l" * 129) + STEP, "SAGA013"),
        (HEADER.replace("1.0.0", "latest") + STEP, "SAGA013"),
        (HEADER.replace("1.0.0", "1.0.0, labels: [a]") + STEP, "SAGA011"),
        (HEADER.replace("1.0.0", "1.0.0, labels: {a: 1}") + STEP, "SAGA011"),
        (HEADER.replace("1.0.0", "1.0.0, labels: {a b: c}") + STEP, "SAGA013"),
        (
            HEADER.replace("1.0.0", f"1.0.0, labels: {{a: {'b' * 257}}}") + STEP,
            "SAGA004",
        ),
        (steps("- id: 1a", "  call: bank.debit"), "SAGA013"),
        (steps("- id: a", "  call: debit"), "SAGA013"),
        (steps("- id: a", "  call: .debit"), "SAGA013"),
        (steps("- id: a", "  call: bank."), "SAGA013"),
        (steps("- id: a", "  call: ${input.x}"), "SAGA013"),
    ],
)
def test_wrong_values_are_findings(text, code):
    """Each mistake has one finding with its code."""
    assert codes(text) == [code], check(text)[1]


def test_at_most_500_steps():
    """500 steps are accepted, one more is a finding."""
    lines = [f"- {{id: s{n}, needs: [], call: bank.debit}}" for n in range(501)]

    assert codes(steps(*lines[:500])) == []
    assert codes(steps(*lines)) == ["SAGA004"]


def test_s10_a_compensation_may_read_its_own_step_and_output_any():
    """A step may not read itself; its compensation may, and ``output`` any step."""
    own = "{x: '${steps.a.output.y}'}"

    assert codes(HEADER + STEP + f"  compensate: {{input: {own}}}\n") == []
    assert codes(HEADER + STEP + f"output: {own}\n") == []
    assert codes(HEADER + STEP + f"  input: {own}\n") == ["SAGA042"]


def operation(name, kind=OperationKind.ACTION, *, compensable=False):
    return Operation(name, kind, name.rpartition(".")[0], compensable)


CATALOGUE = {
    entry.name: entry
    for entry in (
        operation("bank.debit", compensable=True),
        operation("bank.refund"),
        operation("bank.hold", OperationKind.TCC),
        operation("mail.send"),
    )
}


@pytest.mark.parametrize(
    ("call", "compensate", "expected"),
    [
        ("bank.debit", "", []),
        ("bank.debit", "{call: bank.refund}", []),
        ("bank.debit", "{call: bank.debit}", []),
        ("bank.debit", "{timeout: 1s}", []),
        ("bank.debit", "none", []),
        ("mail.send", "none", []),
        ("mail.send", "", ["SAGA022"]),
        ("mail.send", "{timeout: 1s}", ["SAGA022"]),
        ("mail.send", "{call: mail.send}", ["SAGA022"]),
        ("mail.send", "{call: bank.refund}", ["SAGA023"]),
        ("bank.debit", "{call: bank.refnd}", ["SAGA020"]),
        ("bank.debit", "{call: bank.hold}", ["SAGA021"]),
        ("bank.hold", "", ["SAGA021"]),
        ("bank.debti", "", ["SAGA020"]),
        ("nobody.knows", "{call: bank.refund}", ["SAGA020", "SAGA023"]),
    ],
)
def test_operations_against_the_catalogue(call, compensate, expected):
    """Known, of the right kind, and undone by the same participant."""
    lines = ["- id: a", f"  call: {call}"]
    if compensate:
        lines.append(f"  compensate: {compensate}")

    assert codes(steps(*lines), CATALOGUE) == expected


def test_without_a_catalogue_operations_are_believed():
    """A lint without a coordinator checks all but the catalogue, same digest."""
    text = HEADER + STEP
    assert parse(text).digest == parse(text, operations=CATALOGUE).digest
    assert codes(steps("- {id: a, call: no.one}")) == []
    foreign = "- {id: a, call: no.one, compensate: {call: mail.send}}"
    assert codes(steps(foreign)) == ["SAGA023"]


def test_the_operation_that_undoes_another_is_named():
    """What the catalogue knows of it can be copied from the finding."""
    undone = replace(CATALOGUE["mail.send"], compensation="mail.recall")
    catalogue = {**CATALOGUE, "mail.send": undone}
    (finding,) = check(steps("- {id: a, call: mail.send}"), operations=catalogue)[1]

    assert "compensate: {call: mail.recall}" in finding.message


def test_an_operation_that_was_mistyped_has_a_suggestion():
    """From the catalogue."""
    (finding,) = check(steps("- {id: a, call: bank.debti}"), operations=CATALOGUE)[1]

    assert finding.suggestion == "bank.debit"


def test_a_long_circle_is_cut():
    """A circle of 500 steps does not make a message of 500 names."""
    lines = [
        f"- {{id: s{n}, needs: [s{(n + 1) % 500}], call: a.b}}" for n in range(500)
    ]
    (finding,) = check(steps(*lines))[1]

    assert finding.code == "SAGA031"
    assert len(finding.message) < 200


def test_the_longest_path_counts_parallel_steps_once():
    """Two steps side by side take as long as the slower one."""
    lines = [
        "- {id: a, call: x.y, timeout: 4s}",
        "- {id: b, needs: [], call: x.y, timeout: 5s}",
        "- {id: c, needs: [a, b], call: x.y, timeout: 3s}",
    ]

    assert codes(steps(*lines) + "timeout: 8s\n") == []
    assert codes(steps(*lines) + "timeout: 7999ms\n") == ["SAGA032"]


def test_no_finding_shows_a_long_text_whole():
    """What a message shows of the text is escaped and cut."""
    (finding,) = check(HEADER + STEP + f'"{"k" * 1000}\\n": 1\n')[1]

    assert len(finding.message) < 250
    assert "\n" not in finding.message
