"""Bugs to plant in how nodes are kept from what kills them (V6)."""

from tests.simulation.mutant import bug

MEMORY = "coordinator.storage.memory"
MACHINE = "coordinator.core.machine"
SWEEP = "coordinator.core.sweep"
QUARANTINE = "coordinator.core.quarantine"

POISON_MUTANTS = (
    bug(
        "poison_never_quarantined",
        "what killed three owners is taken over by a fourth",
        SWEEP,
        "if lost >= OWNERS_LOST_MAX:",
        "if False:",
    ),
    bug(
        "take_over_counted_afterwards",
        "a claim from a dead node is not counted before the work",
        MEMORY,
        "data.takeovers[key] = row.takeovers",
        "pass",
    ),
    bug(
        "survival_does_not_count",
        "a commit of the new owner leaves the count of the dead ones",
        MEMORY,
        "data.takeovers[key] = takeovers_after(after)",
        "pass",
    ),
    bug(
        "suspects_claimed_together",
        "the innocent are quarantined with what their owners died of",
        SWEEP,
        "return is_claimed and self.takeovers > 1",
        "return False",
        SWEEP,
        "return 0 < line.takeovers < OWNERS_LOST_MAX - 1",
        "return False",
    ),
    bug(
        "trial_never_comes",
        "what is quarantined waits for an operator",
        MACHINE,
        "return trial_at(tx)",
        "return None",
    ),
    bug(
        "trial_with_others",
        "what was quarantined is claimed beside others when its hold is over",
        SWEEP,
        "is_claimed = self.reason in (Reason.OWNER_DEAD, Reason.OWNER_GONE)",
        "is_claimed = self.reason is Reason.OWNER_DEAD",
        SWEEP,
        "return line.takeovers > 1",
        "return False",
    ),
    bug(
        "trial_forgives",
        "after a quarantine three more nodes may die, one by one",
        QUARANTINE,
        "return OWNERS_LOST_MAX - 1 if _told(tx) else 0",
        "return 0",
    ),
    bug(
        "trial_survived_by_a_commit",
        "what time has decided during a hold ends the trial before anybody is called",
        QUARANTINE,
        "        case _:\n            return False",
        "        case _:\n            return is_on_trial(tx)",
    ),
    bug(
        "hold_never_grows",
        "a trial that killed its node is repeated as soon as the first one",
        QUARANTINE,
        "lost = int(told[1]) + 1 if told else OWNERS_LOST_MAX",
        "lost = OWNERS_LOST_MAX",
    ),
    bug(
        "write_ends_the_hold",
        "who writes what is quarantined owns it, and drives it on",
        QUARANTINE,
        "return tx.owner if _told(tx) else writer",
        "return writer",
    ),
)
