"""The memo survives what machines and other processes do to it, in a file and on a server."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import postgres
import pytest
from conftest import Lpk, contents, refused
from filelock import FileLock

from lpk.core.errors import EnvironmentMissing, UsageError
from lpk.core.files import file_system
from lpk.core.pruning import store
from lpk.core.pruning.mask import LayerMask
from lpk.core.pruning.memo import Cost, Memo

MASK = LayerMask(4, (1, 2))


@pytest.fixture(scope="session")
def server() -> Iterator[postgres.Server]:
    with postgres.server() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where a new memo may be."""
    if request.param == "sqlite":
        return tmp_path / "memo.sqlite"
    address: str = request.getfixturevalue("server").database()
    return address


def execute(where: Path | str, statement: str) -> list[Any]:
    """What the database answers to somebody else."""
    if isinstance(where, Path):
        with sqlite3.connect(where) as database:
            return database.execute(statement).fetchall()
    import psycopg

    with psycopg.connect(where) as server:
        answer = server.execute(statement)  # type: ignore[call-overload]
        return answer.fetchall() if answer.description else []


def test_a_loss_comes_back_bit_for_bit(where: Path | str) -> None:
    losses = {"sum": 0.1 + 0.2, "third": -1 / 3, "least": 5e-324, "most": 1.7976931348623157e308}
    first = Memo(where, "run")
    for item, loss in losses.items():
        first.add("context", MASK, item, loss, Cost(3, 4, 5, 1))
    first.add("zero", MASK, "item", -0.0, Cost())
    zeros = [first.known("zero", [MASK], ["item"])[MASK]["item"].hex()]
    first.close()
    again, other = Memo(where, "run"), LayerMask(5, (1, 2))
    known = again.known("context", [MASK, other], [*losses, "missing"])
    assert {item: loss.hex() for item, loss in known[MASK].items()} == {k: v.hex() for k, v in losses.items()}
    assert known[other] == {}
    zeros += [again.known("zero", [MASK], ["item"])[MASK]["item"].hex()]
    assert zeros == [(0.0).hex()] * 2, "no database should decide what a zero's sign is"
    assert again.known("elsewhere", [MASK], losses) == {MASK: {}}
    assert again.cost() == Cost(12, 16, 20, 4)
    again.close()


def test_more_masks_than_a_query_can_name(where: Path | str) -> None:
    memo = Memo(where)
    masks = [LayerMask(2**17, (layer,)) for layer in range(2**16)]
    memo.add("context", masks[-1], "item", 1.5, Cost())
    known = memo.known("context", masks, ["item"])
    assert list(known) == masks
    assert [losses for losses in known.values() if losses] == [{"item": 1.5}]
    memo.close()


def test_what_others_have_stored_is_seen_when_it_is_asked_for_again(where: Path | str) -> None:
    one, other = Memo(where, "one"), Memo(where, "other")
    items = ["first", "second"]
    one.add("context", MASK, "first", 1.0, Cost(measurements=1))
    assert other.known("context", [MASK], items) == {MASK: {"first": 1.0}}
    one.add("context", MASK, "second", 2.0, Cost(measurements=1))
    for _ in range(2):
        assert other.known("context", [MASK], items) == {MASK: {"first": 1.0, "second": 2.0}}
    assert (one.found, other.found) == (0, 2)
    assert (one.cost().measurements, other.cost().measurements) == (2, 0)
    one.close(), other.close()


def test_of_two_measurements_of_the_same_the_first_stays_and_both_are_paid_for(where: Path | str) -> None:
    one, other = Memo(where, "one"), Memo(where, "other")
    one.add("context", MASK, "item", 1.0, Cost(2, 3, 4, 1))
    other.add("context", MASK, "item", 1.5, Cost(5, 6, 7, 1))
    other.spend(Cost(layer_forwards=10))
    for memo in (one, other):
        assert memo.known("context", [MASK], ["item"]) == {MASK: {"item": 1.0}}
    assert one.cost() == Cost(2, 3, 4, 1)
    assert other.cost() == Cost(15, 6, 7, 1)
    one.close(), other.close()


WRITER = """
import sys; from pathlib import Path
from lpk.core.pruning.mask import LayerMask; from lpk.core.pruning.memo import Cost, Memo
where, run, prefix, count = sys.argv[1:]
memo = Memo(where if "://" in where else Path(where), run)
for item in range(int(count)):
    memo.add("c", LayerMask(4, (1, 2)), prefix + str(item), item / 7, Cost(layer_forwards=3, measurements=1))
    print(item, flush=True)
"""


def writer(where: Path | str, run: str, prefix: str = "", count: int = 10**6) -> subprocess.Popen[str]:
    """A process that measures one item after the other, and says so after each."""
    command = [sys.executable, "-c", WRITER, str(where), run, prefix, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kill(process: subprocess.Popen[str], after: int) -> int:
    """SIGKILL it in the midst of its work, once it has told of this item; the last item it told of."""
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= after:
            os.kill(process.pid, signal.SIGKILL)
            break
    rest = process.stdout.read().split()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    return int(rest[-1]) if rest else after


def test_killed_writers_lose_nothing_they_told_of_and_leave_nothing_torn(where: Path | str) -> None:
    for turn in range(3):
        runs = [f"{turn}-{number}" for number in range(2)]
        writers = [writer(where, run, prefix=f"{run}-") for run in runs]
        for run, told in zip(runs, [kill(process, 40 + 9 * turn) for process in writers], strict=True):
            memo = Memo(where, run)
            stored = dict(execute(where, f"SELECT item, loss FROM measurement WHERE item LIKE '{run}-%'"))
            assert {f"{run}-{item}" for item in range(told + 1)} <= set(stored)
            assert len(stored) <= told + 2, "more than the one that was not told of"
            assert all(loss == int(item.rpartition("-")[2]) / 7 for item, loss in stored.items())
            assert memo.cost() == Cost(layer_forwards=3 * len(stored), measurements=len(stored)), "cost without loss"
            memo.close()


def test_processes_that_begin_at_once_share_one_memo(where: Path | str) -> None:
    runs = ["a", "b", "c", "c"]
    for process in [writer(where, run, count=60) for run in runs]:
        _, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (0, "")
    assert execute(where, "SELECT count(*), count(DISTINCT item) FROM measurement") == [(60, 60)]
    for run in set(runs):
        memo = Memo(where, run)
        assert memo.cost() == Cost(layer_forwards=180 * runs.count(run), measurements=60 * runs.count(run))
        memo.close()


COMER_AND_GOER = """
import sys; from pathlib import Path
from lpk.core.pruning.mask import LayerMask; from lpk.core.pruning.memo import Cost, Memo
for turn in range(20):
    memo = Memo(Path(sys.argv[1] + str(turn)))
    memo.add("c", LayerMask(4), sys.argv[2], 1.0, Cost())
    memo.close()
"""


def test_processes_that_come_and_go_take_nothing_with_them(tmp_path: Path) -> None:
    """The last to close a file folds its log into it and deletes that; who is last, SQLite must be able to tell."""
    held = [Memo(tmp_path / str(turn)) for turn in range(20)]
    others = [Memo(tmp_path / str(turn)) for turn in range(20)]
    command = [sys.executable, "-c", COMER_AND_GOER, f"{tmp_path}/"]
    processes = [subprocess.Popen([*command, str(number)]) for number in range(4)]
    for memo in others:
        memo.close()
    assert [process.wait(timeout=120) for process in processes] == [0] * 4
    for memo in held:
        memo.add("c", LayerMask(4), "held", 1.0, Cost())
    counts = [execute(tmp_path / str(turn), "SELECT count(*) FROM measurement") for turn in range(20)]
    assert counts == [[(5,)]] * 20
    for memo in held:
        memo.close()


def test_a_server_that_crashes_has_lost_nothing(server: postgres.Server) -> None:
    where = server.database()
    memo = Memo(where, "run")
    memo.add("context", MASK, "item", 1.5, Cost(measurements=1))
    server.crash()
    assert memo.known("context", [MASK], ["item", "other"]) == {MASK: {"item": 1.5}}, "not on a new connection"
    memo.add("context", MASK, "other", 2.5, Cost(measurements=1))
    assert memo.known("context", [MASK], ["item", "other"]) == {MASK: {"item": 1.5, "other": 2.5}}
    assert memo.cost().measurements == 2
    memo.close()


@contextmanager
def held_up(where: str) -> Iterator[Any]:
    """Nobody else adds a measurement meanwhile; gives a connection, and lets go with what is done there."""
    import psycopg

    with psycopg.connect(where) as connection:
        connection.execute("LOCK TABLE measurement IN SHARE ROW EXCLUSIVE MODE")
        yield connection


def cut_off(connection: Any) -> None:
    """Close the connection of whoever waits for this one, once somebody does."""
    waiting = "SELECT pid FROM pg_locks WHERE NOT granted AND relation = 'measurement'::regclass"
    while not (found := connection.execute(waiting).fetchone()):
        time.sleep(0.01)
    connection.execute("SELECT pg_terminate_backend(%s, 5000)", found)


@pytest.mark.parametrize("committed", [False, True])
def test_a_connection_that_is_lost_within_a_transaction_loses_and_doubles_nothing(
    committed: bool, server: postgres.Server
) -> None:
    where = server.database()
    memo = Memo(where, "run")
    with ThreadPoolExecutor(1) as pool, held_up(where) as connection:
        adding = pool.submit(memo.add, "context", MASK, "item", 1.5, Cost(measurements=1))
        cut_off(connection)
        if committed:  # as if the server had, and only its answer were lost
            connection.execute("INSERT INTO measurement VALUES ('context', '4:1,2', 'item', 1.5, NULL)")
            connection.execute("INSERT INTO cost VALUES ('run', 'measurements', 1)")
        connection.commit()
        adding.result(timeout=60)
    assert memo.known("context", [MASK], ["item"]) == {MASK: {"item": 1.5}}
    assert memo.cost() == Cost(measurements=1)
    memo.close()


# What is not a sound memo


def filled(path: Path, rows: int = 500) -> bytes:
    memo = Memo(path, "run")
    for item in range(rows):
        memo.add("context", MASK, str(item), item / 7, Cost(measurements=1))
    memo.close()
    return path.read_bytes()


def garbled(data: bytes, start: int, length: int) -> bytes:
    return data[:start] + b"\xa5" * length + data[start + length :]


@pytest.mark.parametrize("damage", ["a page", "the schema", "the end", "the header", "all"])
def test_a_damaged_memo_is_set_aside_and_said(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "memo.sqlite"
    for number in (1, 2):
        whole = filled(path)
        page = len(whole) // 4096 // 2 * 4096
        broken = {
            "a page": garbled(whole, page, 4096),
            "the schema": garbled(whole, 100, 3996),
            "the end": whole[:-5000],
            "the header": bytes(4096) + whole[4096:],
            "all": b"no database",
        }[damage]
        path.write_bytes(broken)
        told: list[str] = []
        memo = Memo(path, "run", told.append)
        assert memo.cost() == Cost()
        memo.add("context", MASK, "0", 0.5, Cost(measurements=1))
        memo.close()
        assert len(told) == 1
        assert f"{path} is damaged (" in told[0]
        assert f"it is now memo.sqlite.corrupt-{number}, and measuring begins anew" in told[0]
        assert (tmp_path / f"memo.sqlite.corrupt-{number}").read_bytes() == broken
    told.clear()
    memo = Memo(path, "run", told.append)
    assert memo.known("context", [MASK], ["0", "1"]) == {MASK: {"0": 0.5}}
    assert told == []
    memo.close()


def test_a_damaged_memo_takes_its_log_with_it(tmp_path: Path) -> None:
    path = tmp_path / "memo.sqlite"
    whole = filled(path)
    kill(writer(path, "run"), after=20)
    assert path.with_name("memo.sqlite-wal").stat().st_size > 0
    path.write_bytes(garbled(whole, 4096, len(whole) - 4096))
    told: list[str] = []
    memo = Memo(path, "run", told.append)
    assert len(told) == 1
    assert execute(path, "SELECT count(*) FROM measurement") == [(0,)]
    assert memo.cost() == Cost()
    memo.close()


def test_processes_that_find_the_damage_at_once_set_it_aside_once(tmp_path: Path) -> None:
    path = tmp_path / "memo.sqlite"
    path.write_bytes(garbled(filled(path), 4096, 8192))
    for process in [writer(path, "run", count=30) for _ in range(4)]:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert execute(path, "SELECT count(*) FROM measurement") == [(30,)]
    assert execute(path, "SELECT value FROM cost WHERE name = 'measurements'") == [(120,)]
    assert [file.name for file in tmp_path.glob("*corrupt*")] == ["memo.sqlite.corrupt-1"]


@pytest.mark.parametrize("kind", ["text", "short", "database", "own folder"])
def test_a_file_that_is_no_memo_is_refused_and_left_alone(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "memo.sqlite"
    path.write_bytes({"text": b"this is not a database" * 100, "short": b"note"}.get(kind, b""))
    if kind in ("database", "own folder"):
        execute(path, "CREATE TABLE measurement (mine TEXT)")
    before = path.read_bytes()
    with pytest.raises(UsageError, match="this is no memo of lpk's; move the file away"):
        Memo(path if kind == "own folder" else f"sqlite:///{path}")
    assert path.read_bytes() == before
    assert {file.name for file in tmp_path.iterdir()} <= {"memo.sqlite", ".memo.sqlite.lock"}


def test_a_changed_loss_is_measured_again_and_said(where: Path | str) -> None:
    Memo(where).close()
    told: list[str] = []
    memo = Memo(where, "run", told.append)
    for item, loss in {"one": 3.571428, "two": 2.5}.items():
        memo.add("context", MASK, item, loss, Cost(measurements=1))
    execute(where, "UPDATE measurement SET loss = 7.142856 WHERE item = 'one'")
    memo.close()
    memo = Memo(where, "run", told.append)
    assert memo.known("context", [MASK], ["one", "two"]) == {MASK: {"two": 2.5}}
    (line,) = told
    assert line.endswith(": 1 loss did not match the checksum; measuring again")
    memo.add("context", MASK, "one", 3.571428, Cost(measurements=1))
    memo.close()
    again = Memo(where, "run", told.append)
    assert again.known("context", [MASK], ["one", "two"]) == {MASK: {"one": 3.571428, "two": 2.5}}
    assert len(told) == 1
    again.close()


def test_a_memo_from_before_there_were_checksums_goes_on(where: Path | str) -> None:
    memo = Memo(where, "run")
    memo.add("context", MASK, "old", 1.5, Cost(measurements=1))
    memo.close()
    execute(where, "ALTER TABLE measurement DROP COLUMN checksum")
    execute(where, "UPDATE memo SET schema_version = 1")
    for item in ("new", "newer"):
        memo = Memo(where, "run")
        memo.add("context", MASK, item, 2.5, Cost(measurements=1))
        assert memo.known("context", [MASK], ["old", item]) == {MASK: {"old": 1.5, item: 2.5}}
        memo.close()
    assert execute(where, "SELECT item FROM measurement WHERE checksum IS NULL") == [("old",)]
    assert execute(where, "SELECT schema_version FROM memo") == [(2,)]


def test_a_database_of_something_else_is_refused_and_left_alone(server: postgres.Server) -> None:
    where = server.database()
    execute(where, "CREATE TABLE measurement (mine TEXT)")
    with pytest.raises(UsageError, match="holds other tables and no memo"):
        Memo(where)
    tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
    assert execute(where, tables) == [("measurement",)]


def test_a_memo_of_another_version_is_refused(where: Path | str) -> None:
    Memo(where).close()
    execute(where, "UPDATE memo SET schema_version = 3")
    with pytest.raises(UsageError, match=r"another version of lpk \(schema 3, this lpk knows 2\)"):
        Memo(where)


@pytest.mark.parametrize(
    "address",
    [
        "memo.sqlite",
        "mysql://me:s3cret@host/lpk",
        "postgresql+nodriver://me:s3cret@host/lpk",
        "postgresql://me:s3cret@host:port/lpk",
        "postgresql://me:s@s3cret@host/lpk",
        "sqlite://",
        "sqlite:///",
        "sqlite:///memo?mode=ro",
        "sqlite://host/memo",
    ],
)
def test_an_address_that_is_none_is_refused_without_repeating_it(address: str) -> None:
    with pytest.raises(UsageError, match="wanted sqlite:///FILE or postgresql://") as caught:
        Memo(address)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("query", ["", "?password=s3cret", "?nonsense=1"])
def test_a_server_that_cannot_be_reached_is_one_line_without_password(query: str) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(UsageError, match=r"^postgresql://me:\*\*\*@127.0.0.1:1/lpk: ") as caught:
        Memo(f"postgresql://me:s3cret@127.0.0.1:1/lpk{query}")
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_missing_driver_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(EnvironmentMissing, match=r'pip install "lpk\[postgres\]"'):
        Memo("postgresql://me@127.0.0.1:1/lpk")


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder in which nothing can be created: /proc")
@pytest.mark.parametrize("place", ["/proc/memo.sqlite", "/proc/none/memo.sqlite"])
def test_a_file_that_cannot_be_created_is_told_at_once(place: str) -> None:
    with pytest.raises(UsageError, match=rf"--store sqlite:///{place}: no file can be created in /proc"):
        Memo(f"sqlite:///{place}")


def test_a_folder_is_no_memo(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"--store sqlite:///{tmp_path}: this is a folder; wanted a file"):
        Memo(f"sqlite:///{tmp_path}")


def test_who_waits_for_another_process_says_so_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_SOON", 0.1)
    told: list[str] = []
    lock = FileLock(tmp_path / ".memo.sqlite.lock")
    lock.acquire()

    def waited(text: str) -> None:
        told.append(text)
        lock.release()

    Memo(tmp_path / "memo.sqlite", tell=waited).close()
    assert told == [f"{tmp_path / 'memo.sqlite'}: waiting for another process that is checking it"]


# Network file systems

MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /home rw,relatime shared:2 - nfs4 server:/home rw,vers=4.2
31 30 8:2 / /home/me/local\\040disk rw - xfs /dev/sdb1 rw
32 22 0:41 / /scratch rw shared:3 master:4 - ext4 /dev/sdc1 rw
33 22 0:42 / /scratch rw - lustre mds@tcp:/scratch rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/tmp/run", "ext4"),
        ("/homework", "ext4"),
        ("/home/me/run", "nfs4"),
        ("/home/me/local disk/run", "xfs"),
        ("/scratch", "lustre"),
    ],
)
def test_a_path_is_on_the_file_system_mounted_nearest_above_it(path: str, kind: str) -> None:
    assert file_system(Path(path), MOUNTS) == kind


def test_a_memo_on_a_network_file_system_is_warned_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "network_file_system", lambda path: "nfs4")
    told: list[str] = []
    Memo(tmp_path / "memo.sqlite", tell=told.append).close()
    (line,) = told
    assert line.startswith(f"{tmp_path / 'memo.sqlite'} is on nfs4, ")
    assert "--store postgresql://" in line


# Through the command line


def folder_text(out: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(out.rglob("*")) if file.is_file())


@pytest.mark.parametrize("flag", [False, True], ids=["LPK_STORE", "--store"])
def test_a_second_run_finds_every_measurement_of_the_first(
    flag: bool, where: Path | str, lpk: Lpk, base: Sequence[Any], tmp_path: Path
) -> None:
    if isinstance(where, Path) == flag:
        pytest.skip("one way for each database is enough")
    address = f"sqlite:///{where}" if isinstance(where, Path) else where
    done, costs = [], []
    for name in ("first", "second"):
        store = {"env": {"LPK_STORE": address}} if not flag else {}
        run = lpk(
            *base, "--out", tmp_path / name, "--quiet", "--json", *(["--store", address] if flag else []), **store
        )
        assert (run.returncode, run.stderr) == (0, "")
        done.append(json.loads(run.stdout)["run"])
        costs.append(json.loads(run.stdout)["cost"])
        assert not (tmp_path / name / "memo.sqlite").exists()
        assert postgres.PASSWORD.encode() not in folder_text(tmp_path / name) + run.stdout.encode()
    assert done[0] == done[1]
    assert contents(tmp_path / "first") == contents(tmp_path / "second")
    assert costs[0]["measurements_found_in_memo"] == 0
    assert costs[0]["measurements"] == execute(where, "SELECT count(*) FROM measurement")[0][0] > 100
    assert costs[1]["measurements_found_in_memo"] == costs[0]["measurements"]
    scored = 8 * 6  # the scorer's pass, which no memo holds: 8 layers, 6 sequences
    assert [costs[1][name] for name in vars(Cost())] == [scored, scored, 0, 0]


def test_a_tilde_in_an_address_is_the_users_folder() -> None:
    assert store.Store("sqlite:///~/memo.sqlite").file == Path.home() / "memo.sqlite"


def test_a_store_out_of_reach_is_said_before_anything_is_written(lpk: Lpk, base: Sequence[Any], tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    done = lpk(*base, "--out", tmp_path / "run", "--store", "postgresql://me:s3cret@127.0.0.1:1/lpk")
    refused(done, 2, "postgresql://me:***@127.0.0.1:1/lpk", "refused")
    assert "s3cret" not in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("share", [0.5, 0], ids=["half", "none"])
def test_a_damaged_memo_is_noted_and_the_run_ends_the_same(
    share: float, lpk: Lpk, base: Sequence[Any], finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    import shutil

    out = tmp_path / "run"
    shutil.copytree(finished[0], out)
    (out / "cost.json").unlink()
    whole = (out / "memo.sqlite").read_bytes()
    (out / "memo.sqlite").write_bytes(whole[: int(len(whole) * share)])
    done = lpk(*base, "--out", out, "--quiet")
    assert done.returncode == 0
    said = f"{out / 'memo.sqlite'} is damaged (" if share else f"{out} has no memo.sqlite, or an empty one; "
    (line,) = done.stderr.replace(f"lpk: note: {out}: cost.json is missing; writing it again\n", "").splitlines()
    assert line.startswith(f"lpk: note: {said}")
    assert (out / "memo.sqlite.corrupt-1").exists() == bool(share)
    assert contents(out) == contents(finished[0])
