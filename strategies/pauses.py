"""Why a live strategy enters nothing: for some time, until somebody resumes, or for good. Pure."""

__all__ = ["Pauses"]


class Pauses:
    """Reasons to enter nothing, each once; times are ns UTC.

    A reason given again is prolonged, never shortened, and may only become graver: for some time, until it is
    lifted or an operator resumes, for good.
    """

    def __init__(self) -> None:
        self._for_good: str | None = None
        self._lasting: dict[str, None] = {}
        self._until: dict[str, int] = {}

    def stand_still(self, reason: str) -> None:
        """Enter nothing from now on; the first reason stays."""
        self._for_good = self._for_good or reason

    def add(self, reason: str, until: int | None = None) -> bool:
        """Pause until `until`, or until lifted or resumed (None); True when the reason was not known."""
        is_new = reason not in self._lasting and reason not in self._until
        if until is None:
            self._until.pop(reason, None)
            self._lasting[reason] = None
        elif reason not in self._lasting:
            self._until[reason] = max(until, self._until.get(reason, until))
        return is_new

    def lift(self, reason: str) -> bool:
        """Take a reason back; True when it was known. What is for good stays."""
        was_timed = self._until.pop(reason, None) is not None
        was_lasting = reason in self._lasting
        self._lasting.pop(reason, None)
        return was_timed or was_lasting

    def resume(self) -> tuple[str, ...]:
        """An operator's word: every reason goes but what is for good; returns those that have gone."""
        gone = (*self._lasting, *self._until)
        self._lasting.clear()
        self._until.clear()
        return gone

    def expire(self, now: int) -> tuple[str, ...]:
        """Take back what was for some time only, which is over at `now`; returns those reasons."""
        gone = tuple(reason for reason, until in self._until.items() if until <= now)
        for reason in gone:
            del self._until[reason]
        return gone

    def reason(self, now: int, *, besides: str | None = None) -> str | None:
        """The gravest reason in force at `now` (`besides` does not count), None when entries may be sent."""
        if self._for_good is not None:
            return self._for_good
        timed = (reason for reason, until in self._until.items() if until > now)
        return next((reason for reason in (*self._lasting, *timed) if reason != besides), None)
