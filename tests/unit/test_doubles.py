"""Fills that the engine counts twice for some seconds, and the news that have to be asked for."""

from hypothesis import given
from hypothesis import strategies as st

from live.agreement import Agreement
from strategies.doubles import Doubles
from strategies.lost_orders import Hearing

SECOND = 1_000_000_000
SENT = 10 * SECOND

# -- fills that count twice --------------------------------------------------------------------------------


def test_an_entry_found_by_the_position_check_and_told_afterwards_is_one() -> None:
    doubles = Doubles()
    doubles.found(100, 15 * SECOND)
    assert doubles.excess(15 * SECOND) == 0
    assert doubles.told(100, SENT, 16 * SECOND) == 100
    assert 200 - doubles.excess(17 * SECOND) == 100  # what the engine says is held, less what is too much
    doubles.found(-100, 20 * SECOND)  # the next position check takes it back
    assert doubles.excess(20 * SECOND) == 0
    assert doubles.told(100, SENT, 21 * SECOND) == 0


def test_a_stop_that_is_told_after_the_position_was_found_flat_leaves_no_short_position() -> None:
    doubles = Doubles()
    doubles.found(-70, 15 * SECOND)
    assert doubles.told(-70, SENT, 15 * SECOND) == 70
    assert -70 - doubles.excess(15 * SECOND) == 0


def test_a_stop_that_the_engine_passes_over_leaves_no_phantom_on_the_other_side() -> None:
    doubles = Doubles()
    doubles.found(-596, 15 * SECOND)  # flat
    assert doubles.told(-596, SENT, 15 * SECOND, is_counted=False) == 596
    assert 0 - doubles.excess(15 * SECOND) == 0
    assert doubles.told(-596, SENT, 16 * SECOND) == 0, "what was found is used up"


def test_of_a_fill_found_in_part_the_rest_is_new() -> None:
    doubles = Doubles()
    doubles.found(60, 15 * SECOND)
    assert doubles.told(100, SENT, 16 * SECOND) == 60
    assert 160 - doubles.excess(16 * SECOND) == 100


def test_orders_sent_after_it_was_found_are_others_and_so_are_those_of_the_other_side() -> None:
    doubles = Doubles()
    doubles.found(100, 15 * SECOND)
    assert doubles.told(50, 16 * SECOND, 17 * SECOND) == 0
    assert doubles.told(-50, SENT, 17 * SECOND) == 0
    assert doubles.told(100, SENT, 18 * SECOND) == 100


def test_the_engine_is_believed_again_after_two_position_checks() -> None:
    doubles = Doubles()
    doubles.found(100, 15 * SECOND)
    assert doubles.told(100, SENT, 31 * SECOND) == 0  # a report that late is of another fill
    doubles.found(100, 40 * SECOND)
    doubles.told(100, SENT, 41 * SECOND)
    assert doubles.excess(53 * SECOND) == 100
    assert doubles.excess(54 * SECOND) == 0


@given(st.lists(st.integers(1, 50), min_size=1, max_size=6), st.integers(0, 300))
def test_told_in_any_parts_no_more_is_double_than_was_found(parts: list[int], found: int) -> None:
    doubles = Doubles()
    doubles.found(found, SENT)
    twice = sum(doubles.told(part, SENT, SENT + SECOND) for part in parts)
    assert twice == min(found, sum(parts)) == doubles.excess(SENT + SECOND)


# -- a stream that is silent -------------------------------------------------------------------------------


def test_one_lost_message_is_no_silence_two_without_a_word_are() -> None:
    hearing = Hearing()
    assert hearing.asked("a", SECOND) is None
    assert hearing.asked("a", 2 * SECOND) is None  # the same order
    assert hearing.asked("b", 3 * SECOND) == 60.0


def test_what_is_told_in_between_shows_that_the_stream_speaks() -> None:
    hearing = Hearing()
    assert hearing.asked("a", SECOND) is None
    assert not hearing.heard()
    assert hearing.asked("b", 3 * SECOND) is None
    assert hearing.asked("c", 4 * SECOND) == 60.0
    assert hearing.heard()
    assert not hearing.heard()


def test_two_lost_messages_an_hour_apart_are_no_silence() -> None:
    hearing = Hearing()
    assert hearing.asked("a", SECOND) is None
    assert hearing.asked("b", 3_600 * SECOND) is None


def test_each_further_try_in_vain_doubles_the_pause_up_to_half_an_hour() -> None:
    hearing, now, pauses = Hearing(), 0, []
    for number in range(8):
        assert hearing.asked(f"entry {number}", now) is None
        secs = hearing.asked(f"stop {number}", now)
        assert secs is not None
        pauses.append(secs)
        assert hearing.asked("protection moves", now) is None  # while nothing is entered anyway
        assert hearing.asked("another", now) is None
        now += round(secs) * SECOND + 61 * SECOND
    assert pauses == [60, 120, 240, 480, 960, 1800, 1800, 1800]
    hearing.heard()
    hearing.asked("a", now)
    assert hearing.asked("b", now) == 60.0


# -- account and venue -------------------------------------------------------------------------------------


def test_what_differs_three_times_in_a_row_is_no_news_on_its_way() -> None:
    agreement = Agreement()
    assert agreement.look(["wallet"]) == []
    assert agreement.is_doubtful
    assert agreement.look([]) == []
    assert not agreement.is_doubtful
    for expected in ([], [], ["wallet"], []):
        assert agreement.look(["wallet"]) == expected
    assert agreement.at_odds == ("wallet",)
    assert agreement.look(["BTC"]) == []
    assert agreement.at_odds == ()
