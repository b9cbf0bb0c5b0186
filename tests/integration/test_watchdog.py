"""The watchdog against the rehearsal server: naked positions, a dead node, a venue that fails."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from configs.errors import ConfigError
from live.rehearsal.ports import RequestFault
from live.watchdog import watch
from live.watching.looking import Look, WatchSettings
from live.watching.report import Reporter
from live.watching.watch import Watchdog
from tests.rehearsal_server import mark, quote, until
from tests.watchdog_scene import ALGO, BTC, ROOT, Scene, client_of, deeds, keys, scene_at

pytestmark = pytest.mark.slow  # processes and sockets against the clock

D = Decimal


@pytest.fixture
def scene() -> Iterator[Scene]:
    with scene_at() as made:
        yield made


@pytest.fixture
def beat(tmp_path: Path) -> Path:
    path = tmp_path / "heartbeat"
    path.touch()
    return path


# -- gaps --------------------------------------------------------------------------------------------------


def test_a_flat_account_and_a_covered_position_are_quiet(scene: Scene) -> None:
    scene.watching(protect=True)
    assert scene.look() == Look((), (), (), None)
    scene.buy()
    scene.stop()
    for _ in range(3):
        look = scene.look(60)
        assert (look.alarms, look.actions) == ((), ())
    assert scene.dog is not None
    assert scene.dog.unprotected_secs == {}


def test_a_naked_position_is_an_alarm_and_nothing_is_done_unless_allowed(scene: Scene) -> None:
    scene.watching()
    scene.buy()
    assert keys(scene.look()) == []  # younger than the grace time
    assert keys(scene.look(4.9)) == []
    look = scene.look(0.2)
    assert keys(look) == ["unprotected BTCUSDT"]
    assert "long 0.010 at 60000.1, no stop" in look.alarms[0].text
    assert scene.look(100).actions == ()
    assert scene.stops == []
    assert scene.dog is not None
    assert scene.dog.unprotected_secs == {"BTCUSDT": pytest.approx(105.1)}


def test_a_naked_position_gets_one_stop_and_no_second(scene: Scene) -> None:
    scene.watching(protect=True)
    scene.buy()
    assert deeds(scene.look()) == []
    assert deeds(scene.look(5)) == ["stop placed"]
    (stop,) = scene.stops
    assert (stop.trigger_price, stop.side) == (D(58_200), "SELL")
    assert (stop.close_position, stop.reduce_only, stop.quantity) == (False, True, D("0.01"))
    look = scene.look(5)
    assert (look.alarms, look.actions) == ((), ())
    assert scene.stops == [stop]


def test_a_short_gets_its_stop_above(scene: Scene) -> None:
    scene.watching(protect=True, stop_distance_pct=1.0)
    scene.buy(side="SELL")
    scene.look()
    scene.look(5)
    assert [(stop.side, stop.trigger_price) for stop in scene.stops] == [("BUY", D(60_600))]


def test_a_partly_covered_position_is_told_and_covered(scene: Scene) -> None:
    scene.watching(protect=True)
    scene.buy("0.02")
    scene.stop(quantity="0.01", reduceOnly=True)
    scene.look()
    look = scene.look(5)
    assert "a stop for 0.010 only" in look.alarms[0].text
    assert deeds(look) == ["stop placed"]
    assert scene.look(5).alarms == ()


def test_stops_on_the_wrong_side_do_not_count(scene: Scene) -> None:
    scene.watching(protect=True)
    scene.buy()
    scene.stop("61000", "BUY", quantity="0.01")  # adds to the position
    scene.stop("61000", type="TAKE_PROFIT_MARKET", closePosition=True)  # a target
    scene.look()
    look = scene.look(5)
    assert "wrong side" in look.alarms[0].text
    assert deeds(look) == ["stop placed"]


def test_a_node_that_lives_can_place_its_own_stop_beside_the_watchdogs(scene: Scene) -> None:
    """The venue takes one closing stop of a side: a second one of the watchdog's would have it refused."""
    scene.watching(protect=True)
    scene.buy()
    scene.look()
    assert deeds(scene.look(5)) == ["stop placed"]
    scene.stop("59000")  # the node's, late
    assert deeds(scene.look(1)) == ["left-over stop cancelled"]
    assert [(stop.trigger_price, stop.close_position) for stop in scene.stops] == [(D(59_000), True)]
    assert scene.look(100).actions == ()


def test_a_node_that_is_about_to_place_its_stop_is_given_the_time(scene: Scene) -> None:
    scene.watching(protect=True)
    for _ in range(5):  # a stop within the grace time, again and again
        scene.buy()
        assert scene.look().actions == ()
        assert scene.look(4.9).actions == ()
        scene.stop("59000")
        assert (scene.look(1).alarms, scene.look(1).actions) == ((), ())
        scene.trader.cancel_algo("BTCUSDT", scene.stops[0].algo_id)
        assert scene.look(1).actions == ()
        scene.stop("59100")  # moved, with a moment without
        assert scene.look(3).actions == ()
        scene.trader.cancel_algo("BTCUSDT", scene.stops[0].algo_id)
        scene.buy(side="SELL")
        scene.look(1)


def test_a_bridge_is_a_stop(scene: Scene) -> None:
    """A node moves its closing stop over a reduce-only one of the position's size: nothing is missing."""
    scene.watching(protect=True)
    scene.buy()
    scene.stop("59000")
    scene.look()
    scene.stop("59200", quantity="0.01", reduceOnly=True)
    closing = next(stop for stop in scene.stops if stop.close_position)
    scene.trader.cancel_algo("BTCUSDT", closing.algo_id)
    for _ in range(3):
        look = scene.look(100)
        assert (look.alarms, look.actions) == ((), ())
    scene.stop("59200")
    look = scene.look(100)
    assert (look.alarms, look.actions) == ((), ())
    assert len(scene.stops) == 2


def test_a_closing_stop_that_protects_nothing_makes_way(scene: Scene, beat: Path) -> None:
    """The mark price fell through a stop that works on the last price: its trigger is on the winning side."""
    scene.watching(protect=True, heartbeat=beat)
    scene.buy()
    scene.stop("59500", closePosition=True, workingType="CONTRACT_PRICE")
    scene.thread.feed([mark("59000", at=1_000)])
    scene.look()
    look = scene.look(11)  # and the node has been silent for as long
    assert "on the winning side of the mark price" in look.alarms[1].text
    assert deeds(look) == ["stop placed"]
    (stop,) = scene.stops
    assert (stop.trigger_price, stop.close_position) == (D(57_230), True)  # 3 % below 59,000
    assert keys(scene.look(5)) == ["node"]


def test_the_grace_time_begins_anew_for_a_position_that_changed_sides(scene: Scene) -> None:
    scene.watching(protect=True)
    scene.buy()
    scene.look()
    scene.buy("0.02", "SELL")
    assert scene.look(5) == Look(*(scene.look()[:1]), (), (), None)
    assert deeds(scene.look(5)) == ["stop placed"]


def test_symbols_of_others_are_told_and_left_alone(scene: Scene) -> None:
    scene.watching(symbols=frozenset({"ETHUSDT"}), protect=True)
    scene.buy()
    scene.look()
    look = scene.look(10)
    assert keys(look) == ["unprotected BTCUSDT"]
    assert look.actions == ()


# -- its own stops step back -------------------------------------------------------------------------------


def test_its_stop_steps_back_when_another_covers_or_the_position_is_gone(scene: Scene) -> None:
    scene.watching(protect=True)
    scene.buy()
    scene.look()
    scene.look(5)
    scene.stop(quantity="0.01", reduceOnly=True)
    assert deeds(scene.look(1)) == ["left-over stop cancelled"]
    assert [stop.quantity for stop in scene.stops] == [D("0.01")]
    assert scene.look(1).alarms == ()


def test_a_stop_that_a_killed_watchdog_left_behind_is_found_and_cancelled(scene: Scene) -> None:
    scene.watching(protect=True)
    scene.buy()
    scene.look()
    scene.look(5)
    scene.close()
    scene.trader = client_of(scene.thread)
    scene.trader.reduce_at_market("BTCUSDT", "SELL", D("0.01"), "by-hand")
    assert len(scene.stops) == 1
    assert deeds(scene.watching(protect=True).look()) == ["left-over stop cancelled"]
    assert scene.stops == []


# -- refusals ----------------------------------------------------------------------------------------------


def test_a_stop_refused_three_times_closes_the_position(scene: Scene) -> None:
    scene.watching(protect=True, action_pause_secs=1.0)
    scene.buy()
    scene.look()
    looks = []
    for _ in range(3):
        scene.fault(ALGO, -4045)  # too many stop orders
        looks.append(scene.look(10))
    assert [keys(look) for look in looks] == [["unprotected BTCUSDT", "action BTCUSDT"]] * 3
    assert "-4045" in looks[0].alarms[1].text
    assert deeds(scene.look(0.1)) == ["closed at the market"]
    assert scene.amount == 0
    assert scene.look(1).alarms == ()


def test_tries_are_spaced_out_and_bounded(scene: Scene) -> None:
    scene.watching(protect=True, action_pause_secs=2.0, most_actions_a_minute=3, stop_tries=100)
    scene.buy()
    scene.look()
    tried = 0
    for _ in range(50):
        scene.fault(ALGO, -4045)
        tried += len(scene.look(1.0).actions)
    # due at 5 s, then after pauses of 2, 4, 8, 16 ... s; the fourth within a minute is held back
    assert tried == 3


def test_a_lost_answer_is_not_repeated(scene: Scene) -> None:
    scene.watching(protect=True)
    scene.buy()
    scene.look()
    scene.faults.requests[ALGO] = RequestFault("now", "drop")  # the stop is there, the answer is not
    look = scene.look(5)
    assert look.actions[0].problem.startswith("network")
    assert scene.look(5).actions == ()
    assert len(scene.stops) == 1


# -- the node is dead --------------------------------------------------------------------------------------


def test_a_dead_nodes_positions_are_closed_and_its_orders_cancelled(scene: Scene, beat: Path) -> None:
    scene.watching(heartbeat=beat, flatten_after_secs=30.0)
    scene.buy()
    scene.stop()
    scene.place(side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.01", price="58000")
    scene.look()
    assert scene.look(29).actions == ()
    look = scene.look(2)
    assert keys(look) == ["node"]
    assert deeds(look) == ["orders in the book cancelled", "closed at the market"]
    assert look.actions[1].after_secs == pytest.approx(1.0, abs=0.5)  # the node counted as dead a second ago
    assert deeds(scene.look(1)) == ["left-over stop cancelled"]
    look = scene.look(1)
    assert (look.covers, look.actions, keys(look)) == ((), (), ["node"])
    assert scene.trader.open_orders() == ()


def test_a_node_that_beats_is_left_alone_and_one_that_comes_back_ends_it(scene: Scene, beat: Path) -> None:
    scene.watching(heartbeat=beat, flatten_after_secs=30.0)
    scene.buy()
    scene.stop()
    scene.look()
    for second in range(5):
        os.utime(beat, ns=(second, second))  # also by a clock that stepped back
        assert scene.look(20).alarms == ()
    assert keys(scene.look(31)) == ["node"]
    beat.touch()
    scene.buy()
    assert scene.look(1).actions == ()


def test_without_leave_to_flatten_a_dead_node_is_an_alarm_only(scene: Scene, beat: Path) -> None:
    scene.watching(heartbeat=beat)
    scene.buy()
    scene.stop()
    scene.look()
    look = scene.look(1_000)
    assert (keys(look), look.actions) == (["node"], ())


def test_a_heartbeat_that_never_was_counts_from_the_watchdogs_start(scene: Scene, tmp_path: Path) -> None:
    scene.watching(heartbeat=tmp_path / "none", flatten_after_secs=30.0)
    assert scene.look(29).alarms[0].key == "node"  # not seen for 10 s is told
    scene.buy()
    assert deeds(scene.look(2)) == []  # first seen just now
    assert deeds(scene.look(5)) == ["closed at the market"]


def test_a_large_position_is_closed_in_parts(scene: Scene, beat: Path) -> None:
    scene.thread.feed([quote(size="500", at=10)])
    scene.thread.call(lambda: scene.thread.server.venue.transfer("main", "USDT", D(10_000_000)))
    scene.watching(heartbeat=beat, flatten_after_secs=30.0, action_pause_secs=0.0)
    for _ in range(2):
        scene.buy("100")
        scene.thread.feed([quote(size="500", at=20)])
    scene.look()
    scene.look(31)
    assert scene.amount == D(80)  # MARKET_LOT_SIZE allows 120
    scene.thread.feed([quote(size="500", at=30)])
    scene.look(1)
    assert scene.amount == 0


def test_flattening_needs_a_heartbeat() -> None:
    with pytest.raises(ConfigError, match="--heartbeat"):
        WatchSettings(symbols=BTC, flatten_after_secs=60.0)


# -- what is heard of it -----------------------------------------------------------------------------------


def test_alarms_are_told_when_they_begin_last_and_end(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.watching()
    scene.buy()
    status = tmp_path / "state" / "watchdog.json"
    assert scene.dog is not None
    with Reporter(status_file=status, remind_secs=3_600) as reporter:
        for after in (0, 5, 5):
            reporter.tell(scene.look(after), scene.dog.unprotected_secs)
        written = json.loads(status.read_text())
        scene.stop()
        reporter.tell(scene.look(1), scene.dog.unprotected_secs)
    lines = [line.partition(" watchdog ")[2] for line in capsys.readouterr().err.splitlines()]
    assert [line.split(":")[0] for line in lines] == ["alarm", "over"]
    assert [alarm["key"] for alarm in written["alarms"]] == ["unprotected BTCUSDT"]
    assert written["positions"][0] | {"covered": "0", "is_covered": False} == written["positions"][0]
    assert written["raised"] == 1
    assert json.loads(status.read_text())["alarms"] == []


def test_the_webhook_gets_the_lines_and_a_broken_one_stops_nothing(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    got: list[Any] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    scene.watching(grace_secs=0.0)
    scene.buy()
    with HTTPServer(("127.0.0.1", 0), Hook) as hook:
        Thread(target=hook.serve_forever, daemon=True).start()
        with Reporter(webhook=f"http://127.0.0.1:{hook.server_port}") as reporter:
            reporter.tell(scene.look(), {})
        hook.shutdown()
    assert [(message["kind"], "BTCUSDT" in message["text"]) for message in got] == [("alarm", True)]
    with Reporter(webhook="http://127.0.0.1:9") as reporter:
        reporter.tell(scene.look(), {})
    assert "webhook failed" in capsys.readouterr().err


# -- in real time ------------------------------------------------------------------------------------------


def test_the_reaction_takes_the_grace_time_and_one_interval(scene: Scene) -> None:
    """Ten naked positions, grace 0.2 s, a look every 50 ms: from the fill to the stop at the venue."""
    reactions = []
    settings = WatchSettings(symbols=BTC, protect=True, grace_secs=0.2, most_actions_a_minute=1_000)
    stop = Event()
    with client_of(scene.thread) as client, Reporter() as reporter:
        thread = Thread(target=watch, args=(Watchdog(client, settings), reporter, stop, 0.05))
        thread.start()
        for _ in range(10):
            scene.buy()
            filled = time.monotonic()
            until(lambda: bool(scene.stops))
            reactions.append(time.monotonic() - filled)
            scene.buy(side="SELL")
            until(lambda: not scene.stops)
        stop.set()
        thread.join(5)
    reactions.sort()
    sys.stderr.write(f"reaction: median {reactions[5]:.3f} s, longest {reactions[-1]:.3f} s\n")
    assert reactions[0] >= 0.2
    assert reactions[5] < 10.0  # idle: 0.2 grace, up to 0.05 + 0.05 until seen and due, and the requests


# -- the command -------------------------------------------------------------------------------------------


@pytest.fixture
def command(scene: Scene) -> Callable[..., list[str]]:
    base = scene.thread.server.http_url

    def line(*options: str) -> list[str]:
        urls = {"http": base, "ws": "ws://127.0.0.1:9/ws", "ws_trading": "ws://127.0.0.1:9/ws-fapi/v1"}
        sets = [text for name, url in urls.items() for text in ("--set", f"live.base_url_{name}={url}")]
        return [sys.executable, "live/watchdog.py", "configs/runs/btc_ml_basic.yaml", *sets, *options]

    return line


def ran(line: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_the_command_looks_once_and_says_by_its_code_what_it_saw(
    scene: Scene, command: Callable[..., list[str]]
) -> None:
    scene.buy()
    naked = ran(command("--once", "--json"))
    assert naked.returncode == 1, naked.stderr
    assert json.loads(naked.stdout)["alarms"][0]["key"] == "unprotected BTCUSDT"
    assert "no stop" in naked.stderr
    guarded = ran(command("--once", "--protect"))
    assert guarded.returncode == 1
    assert len(scene.stops) == 1
    calm = ran(command("--once"))
    assert (calm.returncode, calm.stderr) == (0, "")
    wrong = ran(command("--once", "--flatten-after", "60"))
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)


def test_the_process_watches_until_it_is_told_to_stop(
    scene: Scene, command: Callable[..., list[str]], tmp_path: Path
) -> None:
    status = tmp_path / "status.json"
    line = command("--protect", "--grace", "0.2", "--interval", "0.1", "--status-file", str(status))
    process = subprocess.Popen(line, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    until(status.is_file)
    process.send_signal(signal.SIGHUP)  # its terminal is closed
    scene.buy()
    until(lambda: bool(scene.stops))
    until(lambda: [p["is_covered"] for p in json.loads(status.read_text())["positions"]] == [True])
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "done: BTCUSDT: stop placed" in said
