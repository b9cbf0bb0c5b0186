"""The campaign's figures against numbers worked out by hand."""

import math

import pytest

from live.rehearsal.campaign.evidence import Bare
from live.rehearsal.campaign.figures import KILL, NO_FAULT, by_class, cells, quantile, rows, to_markdown


def bare(secs: float, *kinds: str, kill: bool = False) -> Bare:
    return Bare("BTCUSDT", 0, secs, kinds, kill)


def test_quantiles_are_by_nearest_rank() -> None:
    values = [n / 1000 for n in range(200, 0, -1)]
    assert [quantile(values, share) for share in (0.5, 0.95, 0.99, 1.0)] == [0.1, 0.19, 0.198, 0.2]
    assert quantile([0.7], 0.01) == 0.7
    assert math.isnan(quantile([], 0.5))


def test_a_time_counts_in_one_class_only() -> None:
    times = [
        bare(0.01),
        bare(0.5, "drop_user"),
        bare(0.6, "drop_user", "skew_clock"),
        bare(3.0, "drop_user", kill=True),
    ]
    assert by_class(times) == {
        NO_FAULT: [0.01],
        "drop_user": [0.5],
        "drop_user + skew_clock": [0.6],
        KILL: [3.0],
    }


def test_rows_say_quantiles_the_longest_and_the_share_under_the_target() -> None:
    times = [bare(0.004)] * 98 + [bare(0.2), bare(0.3), bare(1.5, "drop_user"), bare(2.0, "a", "b")]
    times += [bare(4.0, "drop_user", kill=True)]
    table = {row.name: row for row in rows(times)}
    assert list(table) == [NO_FAULT, "drop_user", "several faults", KILL, "all"]
    assert table[NO_FAULT][1:] == (100, 0.004, 0.004, 0.2, 0.3, 0.99)
    assert cells(table["drop_user"]) == ("drop_user", "1,500", "-", "-", "1,500 (1)", "0.0 %")
    assert table["several faults"].longest == 2.0
    assert table[KILL].longest == 4.0
    assert table["all"].times == 103
    assert table["all"].share == pytest.approx(99 / 103)


def test_combinations_are_rows_of_their_own_when_asked_for() -> None:
    assert [row.name for row in rows([bare(1.0, "a", "b")], most_kinds=2)] == [NO_FAULT, "a + b", "all"]


def test_the_table_for_a_document() -> None:
    text = to_markdown(rows([bare(0.0042), bare(1.5, "drop_user")]), {"scenarios": 2})
    assert text == (
        "| class | p50 ms | p95 ms | p99 ms | longest ms (of n times) | under 250 ms |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: |\n"
        "| no fault | 4.2 | - | - | 4.2 (1) | 100.0 % |\n"
        "| drop_user | 1,500 | - | - | 1,500 (1) | 0.0 % |\n"
        "| all | 4.2 | - | - | 1,500 (2) | 50.0 % |\n"
        "\n"
        "- scenarios: 2\n"
    )


def test_without_times_there_are_no_numbers() -> None:
    assert "| no fault | - | - | - | - (0) | - |" in to_markdown(rows([]))


def test_a_quantile_is_told_only_of_times_enough_to_have_one() -> None:
    few, many = (rows([bare(0.001)] * count)[0] for count in (19, 99))
    assert cells(few)[1:4] == ("1.0", "-", "-")
    assert cells(many)[1:4] == ("1.0", "1.0", "-")
