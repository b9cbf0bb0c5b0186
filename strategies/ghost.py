"""What the engine takes for held and the venue does not have. Pure: lots in, lots out."""

__all__ = ["Ghost"]


class Ghost:
    """One strategy's. Lots are signed.

    The engine can miss that a position is over, or see only the order that closed one, and believe in a
    position for as long as ten seconds until it compares them. Nothing must be sent for it meanwhile.
    """

    def __init__(self) -> None:
        self._believed = 0
        self._held = 0

    def see(self, believed: int, held: int) -> None:
        """The engine's `believed` lots are `held` ones in truth."""
        self._believed, self._held = believed, held

    def forget(self) -> None:
        """What the engine says is true again."""
        self._believed = 0

    @property
    def is_seen(self) -> bool:
        """Whether the engine is believed less than the venue."""
        return self._believed != 0

    def true_lots(self, believed: int) -> int:
        """What is held while the engine believes that.

        A position that is not there is none however much of it the engine has yet to take back; once it has
        taken back all of it, or has heard of more, it is right again. Any other difference holds of one
        amount only.

        >>> ghost = Ghost()
        >>> ghost.see(70, 0)
        >>> ghost.true_lots(70), ghost.true_lots(30), ghost.true_lots(0), ghost.true_lots(50)
        (0, 0, 0, 50)
        """
        if not self.is_seen:
            return believed
        if believed == self._believed:
            return self._held
        if believed * self._believed <= 0 or abs(believed) > abs(self._believed):
            self.forget()
        is_rest = self._held == 0 and abs(believed) < abs(self._believed)
        return 0 if is_rest else believed
