"""The memo survives what a machine does to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lpk.core.errors import UsageError
from lpk.core.pruning.mask import LayerMask
from lpk.core.pruning.memo import Cost, Memo

MASK = LayerMask(4, (1, 2))


def test_a_loss_comes_back_bit_for_bit(tmp_path: Path) -> None:
    first = Memo(tmp_path / "memo")
    first.add("context", MASK, "item", 0.1 + 0.2, Cost(3, 4, 5, 1))
    first.close()
    again = Memo(tmp_path / "memo")
    assert again.known("context", MASK) == {"item": 0.1 + 0.2}
    assert again.known("other", MASK) == {}
    assert again.known("context", LayerMask(5, (1, 2))) == {}
    assert again.cost() == Cost(3, 4, 5, 1)


def test_what_was_written_survives_sigkill(tmp_path: Path) -> None:
    code = """
import os, signal, sys; from pathlib import Path
from lpk.core.pruning.mask import LayerMask; from lpk.core.pruning.memo import Cost, Memo
memo = Memo(Path(sys.argv[1]))
for item in range(10**6):
    memo.add("c", LayerMask(4, (1, 2)), str(item), item / 7, Cost(measurements=1))
    print(item, flush=True)
"""
    path = tmp_path / "memo"
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for line in writer.stdout:
                if int(line) >= 40:
                    os.kill(writer.pid, signal.SIGKILL)
                    break
            rest = writer.stdout.read().split()
        told = int(rest[-1]) if rest else 40
        memo = Memo(path)
        known = memo.known("c", MASK)
        assert set(map(str, range(told + 1))) <= set(known)
        assert all(loss == int(item) / 7 for item, loss in known.items())
        memo.close()


def test_a_file_that_is_no_memo_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "memo.sqlite"
    path.write_bytes(b"this is not a database" * 100)
    with pytest.raises(UsageError, match="move the file away"):
        Memo(path)
    assert path.read_bytes() == b"this is not a database" * 100
