"""``ctx.session``: the ORM inside the barrier's transaction."""

import pytest
from sqlalchemy import CheckConstraint, create_engine, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from participant_sdk import Participant, Refused, create_barrier_table
from participant_sdk.executor.executor import Executor
from tests.sdk.bank import ACTION, OK, ask, call, told


class Base(DeclarativeBase):
    pass


class Entry(Base):
    __tablename__ = "entry"
    __table_args__ = (CheckConstraint("amount > 0"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    amount: Mapped[int]


@pytest.fixture
async def ledger(tmp_path):
    """An executor over a ledger that is written through the ORM, and its engine."""
    engine = create_engine(f"sqlite:///{tmp_path / 'ledger.db'}")
    create_barrier_table(engine)
    Base.metadata.create_all(engine)
    participant = Participant("ledger", database=engine)

    @participant.action("post")
    def post(ctx, request):
        ctx.session.add(Entry(id=ctx.gid, amount=request["amount"]))
        if request.get("flush"):
            try:
                ctx.session.flush()
            except IntegrityError:
                raise Refused("NOT_POSITIVE") from None
        if request.get("nested"):
            with ctx.session.begin_nested():
                ctx.session.add(Entry(id=f"{ctx.gid}-2", amount=1))
        if request.get("fail"):
            raise LookupError

    executor = Executor(participant._registry, engine)
    yield executor, engine
    await executor.close()
    engine.dispose()


def entries(engine):
    with Session(engine) as session:
        return list(session.scalars(select(Entry.id).order_by(Entry.id)))


def post(gid, **body):
    return call(ACTION, gid, operation="ledger.post", body=body)


async def test_what_the_session_holds_is_written_on_return(ledger):
    """B1: without a flush or commit by the handler, savepoints included."""
    executor, engine = ledger
    replies = await ask(executor, post("a", amount=1), post("b", amount=2, nested=1))
    assert [told(r) for r in replies] == [OK, OK]
    assert entries(engine) == ["a", "b", "b-2"]


async def test_a_failed_handler_leaves_nothing_of_its_session(ledger):
    """B1: neither what was flushed nor what was not, and its neighbours stay."""
    executor, engine = ledger
    replies = await ask(
        executor,
        post("a", amount=1),
        post("b", amount=1, flush=1, nested=1, fail=1),
        post("c", amount=1, fail=1),
        post("d", amount=1),
    )
    failed = ("failed", "HANDLER_ERROR")
    assert [told(r) for r in replies] == [OK, failed, failed, OK]
    assert entries(engine) == ["a", "d"]


async def test_an_error_of_the_last_flush_undoes_all(ledger):
    """B8: the database says no only after the handler has returned."""
    executor, engine = ledger
    replies = await ask(executor, post("a", amount=1), post("b", amount=-1))
    assert [told(r) for r in replies] == [OK, ("failed", "DATABASE_ERROR")]
    assert entries(engine) == ["a"]


async def test_a_failed_flush_can_be_told_as_a_refusal(ledger):
    """B8: the session's own savepoint keeps the batch's transaction whole."""
    executor, engine = ledger
    for _ in range(2):
        replies = await ask(
            executor, post("a", amount=1), post("b", amount=-1, flush=1)
        )
        assert [told(r) for r in replies] == [OK, ("refused", "NOT_POSITIVE")]
    assert entries(engine) == ["a"]
