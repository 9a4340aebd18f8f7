"""Every rule in a sentence, and the rules that no test names yet, with the reason."""

GROUPS = {
    "T": "TCC, and every transaction",
    "L": "Several nodes",
    "B": "The barrier at the participant",
    "S": "Sagas",
    "V": "Progress",
}

RULES = {
    "T1": "A decision is written once; every reader sees the same one for ever.",
    "T2": "A commit is decided only when every registered branch has succeeded, and the"
    " list that was checked is the list that is confirmed.",
    "T3": "A branch joins before the decision or never.",
    "T4": "A try is sent after its branch is durable, a confirm or cancel after the"
    " decision is.",
    "T5": "No branch is both confirmed and cancelled; only the decided side runs.",
    "T6": "Every operation of a branch takes effect at most once, and at the end"
    " exactly as the decision demands.",
    "T7": "What was acknowledged survives the kill of any process at any instant.",
    "T8": "CONFIRMED, CANCELLED, COMPLETED and COMPENSATED are written only on the"
    " participants' answers; a person's settlement ends as RESOLVED.",
    "T9": "Of confirm, abort and deadline one wins; the losers are told the winner's"
    " decision.",
    "T10": "A request may be repeated: same key and body, same answer; same key, other"
    " body, refused without effect.",
    "T11": "The journal is numbered without gaps, and the state is the fold of its"
    " facts.",
    "T12": "What joins a transaction follows its decision, nested at most eight deep;"
    " an independent one does not.",
    "T13": "A deadline is looked at inside the deciding step; a clock that jumps makes"
    " it early or late, never inconsistent.",
    "T14": "Input over a limit is refused before anything is stored, and the largest"
    " transaction can still be operated on.",
    "L1": "Every write of a node names the revision that it read; when it no longer"
    " holds, nothing is written and the state is read again.",
    "L2": "A node has a fresh identity at each start, and taking over raises the"
    " revision.",
    "L3": "To have listed a transaction gives no right to it; the claim is one guarded"
    " statement, and its row count is the answer.",
    "L4": "Nodes that all believe to drive one transaction send calls of one phase"
    " only.",
    "L5": "A stale forward call of a node that was replaced is refused by the barrier.",
    "L6": "When a commit's outcome is unknown, the node reads before it acts.",
    "L7": "What no living node drives is taken over soon after it is due.",
    "B1": "The barrier's row and the business change are one local transaction: both or"
    " neither.",
    "B2": "A cancel without a try succeeds, leaves a tombstone and calls nothing.",
    "B3": "After a cancel the try never takes effect, also when old rows have been"
    " removed.",
    "B4": "A late try is refused, never answered OK; a duplicate gets the recorded"
    " answer.",
    "B5": "A call in the wrong order fails loudly and changes nothing.",
    "B6": "Simultaneous duplicates have one effect, and no deadlock is seen outside.",
    "B7": "Names are compared byte by byte and limited before they reach the database.",
    "B8": "A database error inside business code undoes all of it, even when the code"
    " swallowed the error.",
    "B9": "A resource outside the database has a weaker, documented mode: its cancel"
    " runs after an unknown try.",
    "B10": "A second-phase call that the coordinator did not authorise changes"
    " nothing.",
    "S1": "A step starts when the success of all it needs is durable.",
    "S2": "A step is compensated after everything that needed it; sent with unknown"
    " outcome counts as started.",
    "S3": "Exactly what took effect is undone; a step that was never sent is never"
    " called.",
    "S4": "After turning back nothing new is sent forward.",
    "S5": "After its pivot a saga only goes forward.",
    "S6": "A saga completes, is compensated, or waits visibly for a person; a failing"
    " compensation is never skipped.",
    "S7": "A running saga is pinned to its definition; its inputs are evaluated once"
    " and stored.",
    "S8": "The child of a step is found again by its name, and is undone with its"
    " parent.",
    "S9": "Graph, sizes and templates are bounded and acyclic, at publication and at"
    " run time.",
    "S10": "An answer is durable before anything reads it.",
    "V1": "Once the world behaves, every transaction ends within a bound.",
    "V2": "A hanging participant delays only the transactions that need it.",
    "V3": "What is due longest is attempted soon, and a crowd in one namespace does not"
    " hold up another.",
    "V4": "Retries are a small part of all calls, and are made in one layer only.",
    "V5": "After an overload the system recovers by itself.",
    "V6": "A transaction that takes its node down again and again is set aside, and"
    " after a while tried again by one node; the others go on.",
    "V7": "A node that is told to stop hands its transactions over at once.",
    "V8": "Retry times grow, are spread over the whole interval, and are capped at 30"
    " seconds; who waits for a participant that comes back is asked within 5 seconds.",
}

NOT_COVERED: dict[str, str] = {}
