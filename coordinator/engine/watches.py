"""Who wants to hear of every change of a transaction, be it in memory or not."""

from coordinator.core.model import GlobalTransaction, Key
from coordinator.engine.resident import Answer, Reply, Ticket


class Watch(Ticket):
    """Somebody wants to hear of every change, until it is given up."""

    __slots__ = ()

    def answer(self, answer: Answer) -> None:
        """Tell, and stay."""
        if self._reply is not None:
            self._reply(answer)


class Watches:
    """All of one node, by transaction."""

    def __init__(self) -> None:
        self._by_key: dict[Key, list[Watch]] = {}

    def add(self, key: Key, changed: Reply) -> Ticket:
        """Call back at every change that :meth:`tell` is told of, until cancelled."""
        watch = Watch(changed)
        self._by_key.setdefault(key, []).append(watch)
        return watch

    def tell(self, tx: GlobalTransaction) -> None:
        """It has changed durably. After its end nobody is told anything any more."""
        if not self._by_key or (watches := self._by_key.get(tx.key)) is None:
            return
        for watch in watches:
            watch.answer(tx)
        still = [watch for watch in watches if watch.is_waiting]
        if still and not tx.status.is_final:
            self._by_key[tx.key] = still
        else:
            del self._by_key[tx.key]
