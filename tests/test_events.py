"""``events.jsonl``: nothing is lost, nothing changes unseen, two branches merge."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledgers import TOML, in_folder, snapshot, supported_records

from lpk.core.errors import UsageError
from lpk.core.evidence.events import Event, EventLog, heads_of, in_order
from lpk.core.evidence.ledger import Ledger
from lpk.core.evidence.records import Claim, Withdrawal


def claim(number: int) -> Claim:
    return Claim(id=f"c-{number}", text=f"Claim {number}.")


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    made = EventLog(tmp_path / "events.jsonl")
    made.append([claim(number) for number in range(5)], "tester", "2026-05-20T00:00:00Z")
    return made


def test_what_is_written_is_read(log: EventLog) -> None:
    events = log.read()
    assert [event.record for event in events] == [claim(number) for number in range(5)]
    assert [event.previous for event in events[1:]] == [(event.id,) for event in events[:-1]]
    assert heads_of(events) == [events[-1].id]


@pytest.mark.parametrize("line", range(5))
@pytest.mark.parametrize("change", ["text", "by", "at", "reorder-previous"])
def test_a_changed_line_is_told(log: EventLog, line: int, change: str) -> None:
    lines = log.path.read_text().splitlines()
    value = json.loads(lines[line])
    if change == "text":
        value["data"]["text"] = "Another claim."
    elif change == "reorder-previous":
        value["previous"] = [*value["previous"], value["id"]]
    else:
        value[change] += "x"
    lines[line] = json.dumps(value)
    log.path.write_text("\n".join(lines) + "\n")
    with pytest.raises(UsageError, match=f"line {line + 1} was changed"):
        log.read()


@pytest.mark.parametrize("line", range(4))
def test_a_removed_line_is_told(log: EventLog, line: int) -> None:
    lines = log.path.read_text().splitlines()
    del lines[line]
    log.path.write_text("\n".join(lines) + "\n")
    # The first line's removal leaves two that begin nothing: the second follows what is not there.
    with pytest.raises(UsageError, match=f"line {line + 1} follows event .* which is not there"):
        log.read()


def test_every_torn_end_is_repaired(log: EventLog) -> None:
    whole = log.path.read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    for cut in range(last + 1, len(whole) - 1):
        log.path.write_bytes(whole[:cut])
        assert len(log.read()) == 4
        log.append([claim(9)], "tester", "2026-05-20T00:00:01Z")
        assert [event.record for event in log.read()][-1] == claim(9)
        assert len(log.read()) == 5


def test_a_last_line_without_its_end_is_whole(log: EventLog) -> None:
    log.path.write_bytes(log.path.read_bytes().rstrip(b"\n"))
    log.append([claim(9)], "tester")
    assert len(log.read()) == 6


def test_damage_in_the_middle_is_not_repaired(log: EventLog) -> None:
    lines = log.path.read_bytes().splitlines(keepends=True)
    before = b"".join([lines[0], lines[1][:40] + b"\n", *lines[2:]])
    log.path.write_bytes(before)
    with pytest.raises(UsageError, match="line 2 is damaged"):
        log.append([claim(9)], "tester")
    assert log.path.read_bytes() == before


def test_not_utf8_and_conflict_marks_are_told(log: EventLog) -> None:
    whole = log.path.read_bytes()
    log.path.write_bytes(b'{"by": "\xff"}\n' + whole)
    with pytest.raises(UsageError, match="line 1 is damaged: not JSON in UTF-8"):
        log.read()
    log.path.write_bytes(whole + b"<<<<<<< HEAD\n")
    with pytest.raises(UsageError, match="line 6 is a merge conflict"):
        log.read()


def test_a_newer_kind_and_two_beginnings_are_told(log: EventLog) -> None:
    whole = log.path.read_text()
    strange = Event("", (), "2026-05-20T00:00:00Z", "x", "hologram", {})
    strange = Event(strange.hash(), (), strange.at, "x", "hologram", {})
    log.path.write_text(whole + strange.line())
    with pytest.raises(UsageError, match="line 6 is a 'hologram': written by a newer lpk"):
        log.read()
    log.path.write_text(whole + Event.of(claim(7), [], "2026-05-20T00:00:00Z", "x").line())
    with pytest.raises(UsageError, match="lines 1 and 6 both begin a ledger"):
        log.read()


def test_a_key_that_only_a_newer_lpk_writes_is_told(log: EventLog) -> None:
    head, data = log.read()[-1].id, {"id": "c-7", "text": "A claim.", "confidence": 0.9}
    newer = Event("", (head,), "2026-05-20T00:00:00Z", "x", "claim", data)
    log.path.write_text(log.path.read_text() + Event(newer.hash(), (head,), newer.at, "x", "claim", data).line())
    with pytest.raises(UsageError, match="line 6 is a 'claim' with 'confidence': written by a newer lpk; update lpk"):
        log.read()


def test_a_wrong_record_is_told(log: EventLog) -> None:
    head = log.read()[-1].id
    wrong = Event("", (head,), "2026-05-20T00:00:00Z", "x", "claim", {"id": "c-7", "text": " "})
    log.path.write_text(log.path.read_text() + Event(wrong.hash(), (head,), wrong.at, "x", "claim", wrong.data).line())
    with pytest.raises(UsageError, match=r"line 6: claim text: .*empty"):
        log.read()


@given(st.randoms(use_true_random=False), st.integers(1, 4))
def test_order_of_lines_does_not_matter(rng: random.Random, branches: int) -> None:
    """Two lists of the same events, shuffled, fold to the same: each event after those that it follows."""
    events = [Event.of(claim(0), [], "2026-05-20T00:00:00Z", "x")]
    tips = [events[0].id] * branches
    for number in range(1, 12):
        branch = rng.randrange(branches)
        event = Event.of(claim(number), [tips[branch]], f"2026-05-20T00:00:{rng.randrange(60):02}Z", "x")
        events.append(event)
        tips[branch] = event.id
    merged = Event.of(claim(99), sorted(set(tips)), "2026-05-20T00:00:00Z", "x")
    events.append(merged)
    ordered = in_order(events)
    shuffled = events[:]
    rng.shuffle(shuffled)
    assert in_order(shuffled) == ordered
    assert ordered[-1] == merged
    at = {event.id: place for place, event in enumerate(ordered)}
    assert all(at[name] < at[event.id] for event in ordered for name in event.previous)


def _git(folder: Path, *arguments: str) -> str:
    settings = ["-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *settings, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_two_branches_merge_without_losing_rows(tmp_path: Path) -> None:
    folder = tmp_path / "ledger"
    ledger = in_folder(folder, supported_records())
    _git(tmp_path, "init", "-q", "-b", "main", "ledger")
    _git(folder, "add", "-A")
    _git(folder, "commit", "-qm", "begin")
    for branch, numbers in (("ada", (10, 11)), ("alan", (20, 21, 22))):
        _git(folder, "checkout", "-q", "-b", branch, "main")
        ledger.write([claim(number) for number in numbers], by=branch)
        _git(folder, "commit", "-qam", branch)
    _git(folder, "merge", "-q", "--no-edit", "ada")
    merged = Ledger(folder).snapshot()
    assert {f"c-{number}" for number in (1, 10, 11, 20, 21, 22)} == set(merged.claims)
    assert len(merged.heads) == 2
    Ledger(folder).write([Withdrawal(what="c-10", reason="twice")], by="ada")
    after = Ledger(folder).snapshot()
    assert len(after.heads) == 1
    assert after.withdrawals == {"c-10": "twice"}


_WRITER = """
import sys
from pathlib import Path
from lpk.core.evidence.events import EventLog
from lpk.core.evidence.records import Claim
log, name = EventLog(Path(sys.argv[1])), sys.argv[2]
for number in range(int(sys.argv[3])):
    log.append([Claim(id=f"c-{name}-{number}", text=f"Claim {number} of {name}.")], name)
    print(number, flush=True)
"""


def test_concurrent_writers_lose_nothing(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    log.append([claim(0)], "tester")
    writers = [
        subprocess.Popen([sys.executable, "-c", _WRITER, str(log.path), name, "12"], stdout=subprocess.DEVNULL)
        for name in ("a", "b", "c")
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    events = log.read()
    assert len(events) == 37
    assert all(len(event.previous) == 1 for event in events[1:])  # one chain: each saw what came before


def test_sigkill_loses_nothing_that_was_said_to_be_written(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    log.append([claim(0)], "tester")
    rng = random.Random(7)
    said = 0
    for name in ("a", "b", "c"):
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(log.path), name, "5000"], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout
        writer.stdout.readline()
        time.sleep(0.05 + rng.random() / 5)
        os.kill(writer.pid, signal.SIGKILL)
        said += 1 + len(writer.stdout.read().splitlines())
        writer.wait()
        log.append([Claim(id=f"c-after-{name}", text="After.")], "tester")
    events = log.read()
    assert said > 3
    assert len(events) >= 1 + said + 3


def test_a_newer_ledger_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "ledger"
    in_folder(folder, [])
    (folder / "ledger.toml").write_text(TOML.replace("format = 1", "format = 2"))
    with pytest.raises(UsageError, match=r"written by a newer lpk \(format 2, this one knows 1\)"):
        Ledger(folder)


def test_the_same_events_fold_to_the_same(tmp_path: Path) -> None:
    records = supported_records()
    assert snapshot(records).heads == snapshot(records).heads
    ledger = in_folder(tmp_path / "ledger", records)
    assert list(ledger.snapshot().rows.values()) == list(snapshot(records).rows.values())
