"""The participant of barrier scripts: a bank, and what it does outside its database."""

import asyncio
from pathlib import Path

from sqlalchemy import create_engine

from participant_sdk import Context, Participant, Refused
from tests.sdk.bank import Bank

Request = dict[str, int]

PLAIN = "mail."
"""Operations of the participant that has no database."""


class ScriptedBank(Bank):
    """A bank whose handlers wait, raise and act outside when a script says so.

    Attributes:
        may_go_on: slow handlers wait in the middle until it is set.
        entered: a slow handler has come to its middle.
        failures: names of errors, or codes of refusals, in capitals; each handler at
            its end raises the next one.
        writes_outside: all handlers also act outside the database.
        outside: what was done there; nothing undoes it by itself.
        plain: a participant without a database.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(create_engine(f"sqlite:///{path}"))
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self.entered = asyncio.Event()
        self.failures: list[str] = []
        self.writes_outside = False
        self.outside: list[str] = []
        self.plain = Participant(PLAIN.removesuffix("."))
        self.before = self._at_the_end
        self._declare_outside(self.participant, "ring", transactional=False)
        self._declare_outside(self.plain, "hold", transactional=True)

    async def gate(self, ctx: Context) -> None:
        """What the slow try awaits after its effect."""
        self.entered.set()
        await self.may_go_on.wait()

    def _at_the_end(self, ctx: Context) -> None:
        if self.writes_outside:
            self.outside.append(f"{ctx.phase.value} of {ctx.gid}")
        if self.failures:
            name = self.failures.pop(0)
            if name.isupper():
                raise Refused(name)
            raise {"ValueError": ValueError, "KeyError": KeyError}[name]("secret")

    def _declare_outside(
        self, participant: Participant, name: str, *, transactional: bool
    ) -> None:
        def act(ctx: Context) -> None:
            key = ctx.idempotency_key
            self.outside.append(f"{ctx.phase.value} under the key {key}")
            self.before(ctx)

        @participant.tcc(name, transactional=transactional)
        async def hold(ctx: Context, request: Request) -> None:
            act(ctx)
            await self.gate(ctx)

        @hold.confirm
        def _(ctx: Context, request: Request, output: None) -> None:
            act(ctx)

        @hold.cancel
        def _(ctx: Context, request: Request, output: None) -> None:
            act(ctx)
