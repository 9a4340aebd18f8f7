"""Mutants that no test can notice, by module, with the reason.

Keys are what the run prints: function, and the text before and after the change.
"""

_TINY = "the jitter changes by a part in four billion, far below one millisecond"
_SAME_INSTANT = "what is due at that very instant is made due at the same instant"
_DECIDED = "what was just decided or asked back has no branch that could be overdue"
_NOT_YET_OVERDUE = (
    "what is overdue was decided before its answer was looked at, so the branch's own"
    " deadline is always later than now"
)
_NEVER_SO_DEEP = "no registered branch is that deep; both counts refuse the next one"
_SAME_PACE = (
    "tries and phase two wait equally long between two attempts; they differ in how"
    " many they have"
)

_NO_SUCH_CHOICE = "a choice that is none has no branch, and the first is looked at last"
_ASKED_AGAIN = "all that would follow asks for itself whether the saga still goes on"
_OPENED_ONCE = "what follows the list is not ready before it, and begins only once"
_ANY_STEP = (
    "the saga's own output stands at no step; only the scope of its place is read"
)

_ANY_MIX = "any other mixing of the same words gives each node an order as good"
_BEHIND_ALL = "behind the last namespace there is no line, whatever its count"
_SET_LATER = "the page's size is put in its place before anybody is asked"
_COUNTED_EVENLY = "what counts is which comes first, not by how much"
_NO_TIES = "rows that agree in all before are the same row"
_NEVER_NEGATIVE = "nobody loses less than nothing"
_ALIKE = "tries and phase two wait equally long at most"
_NEVER_ZERO = "returns are counted from one"

_SAME_HORIZON = "a horizon that is written again as it is stays the same"

EQUIVALENT: dict[str, dict[str, str]] = {
    "coordinator/core/backoff.py": {
        "4294967296  ->  4294967297": _TINY,
        "4294967296  ->  4294967295": _TINY,
    },
    "coordinator/core/evolution.py": {
        "_due_at_once: branch.due_at > event.at  ->  branch.due_at >= event.at": (
            _SAME_INSTANT
        ),
    },
    "coordinator/core/forward.py": {
        "_saga_output: 0  ->  -1": _ANY_STEP,
        "go_on: return  ->  pass": _ASKED_AGAIN,
        "go_on: continue  ->  pass": _OPENED_ONCE,
    },
    "coordinator/core/machine.py": {
        "due_at: ask_at < soonest  ->  ask_at <= soonest": _SAME_INSTANT,
    },
    "coordinator/core/place.py": {
        "last_choice: len(step.calls) - 1  ->  len(step.calls) + 1": (_NO_SUCH_CHOICE),
        "last_choice: 1  ->  0": _NO_SUCH_CHOICE,
        "last_choice: 0  ->  -1": _NO_SUCH_CHOICE,
    },
    "coordinator/core/recovery.py": {
        "ask_at: 0  ->  -1": _NEVER_ZERO,
        "longest_wait_ms: max  ->  min": _ALIKE,
    },
    "coordinator/core/sweep.py": {
        "end: 0  ->  1": _BEHIND_ALL,
        "end: 0  ->  -1": _BEHIND_ALL,
        "others: 0  ->  1": _BEHIND_ALL,
        "others: 0  ->  -1": _BEHIND_ALL,
        "in_turn: 1  ->  2": _COUNTED_EVENLY,
        "_mix: 2654435761  ->  2654435762": _ANY_MIX,
        "_mix: 2654435761  ->  2654435760": _ANY_MIX,
        "_mix: 2 ** 32  ->  2 * 32": _ANY_MIX,
        "_mix: 2  ->  3": _ANY_MIX,
        "_mix: 32  ->  33": _ANY_MIX,
        "_mix: 32  ->  31": _ANY_MIX,
        "__init__: 0  ->  1": _SET_LATER,
        "__init__: 0  ->  -1": _SET_LATER,
        "listed: 0  ->  1": _SET_LATER,
        "listed: 0  ->  -1": _NEVER_NEGATIVE,
        "interleaved: 1  ->  2": _COUNTED_EVENLY,
        "interleaved: 2  ->  3": _NO_TIES,
    },
    "coordinator/core/saga.py": {
        "_succeeded: return  ->  pass": _ASKED_AGAIN,
    },
    "coordinator/core/tcc.py": {
        "_look_at_the_clock: return  ->  pass": _DECIDED,
        "pending: now + 1  ->  now - 1": _NOT_YET_OVERDUE,
        "pending: 1  ->  0": _NOT_YET_OVERDUE,
        "depth_of: depth <= NESTING_DEPTH_MAX  ->  depth < NESTING_DEPTH_MAX": (
            _NEVER_SO_DEEP
        ),
        "_failed: forward  ->  not forward": _SAME_PACE,
    },
    "participant_sdk/barrier/retention.py": {
        "_raise_horizon: TABLE.c.created_at_ms < horizon_ms  ->"
        "  TABLE.c.created_at_ms <= horizon_ms": _SAME_HORIZON,
    },
}
