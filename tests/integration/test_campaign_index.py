"""The sentiment index of a scenario, asked by what a node asks it with."""

import asyncio

import pytest

from actors.sentiment import Answer, ask_fear_greed
from live.rehearsal.campaign.index import IndexService, sentiment_of
from live.rehearsal.campaign.scenario import Mood

pytestmark = pytest.mark.slow  # sockets against the clock

DAY_MS = 86_400_000
MIDNIGHT_MS = 20_000 * DAY_MS
BEGIN_MS = MIDNIGHT_MS + 9 * 3_600_000 + 30_500


def _asked(mood: Mood, times: int) -> tuple[IndexService, list[Answer]]:
    async def ask() -> tuple[IndexService, list[Answer]]:
        service = IndexService(mood, BEGIN_MS, seed=1)
        await service.open()
        answers = [
            await asyncio.to_thread(ask_fear_greed, service.url, timeout_secs=0.5) for _ in range(times)
        ]
        await service.close()
        return service, answers

    return asyncio.run(ask())


def test_forty_days_of_one_mood_and_a_day_of_another_that_is_due_later() -> None:
    service, (answer,) = _asked(Mood(before=65, after=35, due_minutes=6), 1)
    assert len(answer.days) == 40
    assert answer.days[-1] == (MIDNIGHT_MS * 1_000_000, 35.0)
    assert {value for _, value in answer.days[:-1]} == {65.0}
    assert service.delay_minutes == 9 * 60 + 6
    assert service.due_ms == MIDNIGHT_MS + (9 * 60 + 6) * 60_000
    assert sentiment_of(service)["publication_delay_minutes"] == service.delay_minutes
    assert [told.well for told in service.told] == [True]


def test_a_service_that_fails_now_and_then_is_no_answer_and_says_so() -> None:
    service, answers = _asked(Mood(before=65, after=35, due_minutes=6, failing=0.5), 12)
    assert [not answer.failure for answer in answers] == [told.well for told in service.told]
    assert {told.well for told in service.told} == {True, False}
    assert len({answer.failure for answer in answers if answer.failure}) >= 2
