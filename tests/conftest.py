"""Fixtures shared by all tests; see ``lpk.testing`` for the tiny models."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import warm
from sources_server import Clock, Server, serve

from lpk.core.evidence.retrieval.web import Web
from lpk.core.progress import Progress
from lpk.core.pruning.catalog import CATALOG
from lpk.core.pruning.memo import Memo
from lpk.testing import tiny_model

Lpk = Callable[..., subprocess.CompletedProcess[str]]
#: All that the tokenizer of :func:`worded` knows.
WORDS = [f"w{number}" for number in range(90)]


def pytest_configure(config: pytest.Config) -> None:
    """Each worker of pytest-xdist, with the processes that it starts, gets its share of the cores.

    torch would take all for each; threads that wait for others without a core make a tiny layer up to ten times slower.
    """
    share = str(max(1, (os.cpu_count() or 1) // (config.getoption("numprocesses", None) or 1)))
    for threads in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(threads, share)
    # An example may take seconds where another job has the core.
    hypothesis.settings.register_profile("lpk", deadline=None)
    hypothesis.settings.load_profile("lpk")


@pytest.fixture(scope="session")
def lpk() -> Lpk:
    """The command line in a process of its own: ``lpk("run", "--model", path)``.

    In a fresh interpreter where ``env`` has more than lpk's own variables, which libraries may read when imported.
    """

    def call(
        *arguments: object, cwd: Path | None = None, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        given, variables = list(map(str, arguments)), {**os.environ, **(env or {})}
        if all(name.startswith("LPK_") for name in env or {}):
            return warm.call(given, cwd, variables)
        command = [sys.executable, "-m", "lpk", *given]
        return subprocess.run(
            command, capture_output=True, text=True, cwd=cwd, env=variables, check=False, timeout=warm.LIMIT
        )

    return call


def refused(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """The command ended with this code, one line on stderr that holds these words, and nothing on stdout."""
    lines = done.stderr.splitlines()
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("lpk: ")
    for word in words:
        assert word in lines[0]


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama as a checkpoint folder, without a tokenizer."""
    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    tiny_model("llama", layers=8).save_pretrained(folder)
    return folder


def worded(folder: Path) -> Path:
    """Give a folder a tiny model with a tokenizer of 90 words, ``tiny``, a ``text.txt`` and ``questions.jsonl``."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    tiny_model("llama", layers=8).save_pretrained(folder / "tiny")
    vocabulary = {word: number for number, word in enumerate(["<pad>", "<s>", "</s>", "<unk>", ":", *WORDS])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()  # type: ignore[assignment]
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>").save_pretrained(
        folder / "tiny"
    )
    draw = random.Random(0)
    (folder / "text.txt").write_text(" ".join(draw.choices(WORDS, k=1200)))
    questions = [
        {
            "query": " ".join(draw.choices(WORDS, k=5)),
            "choices": [" ".join(draw.choices(WORDS, k=k)) for k in (1, 3)],
            "gold": n % 2,
        }
        for n in range(24)
    ]
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions))
    return folder


@pytest.fixture(scope="session")
def tiny_ids(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Token ids for it, (6, 32)."""
    import numpy as np

    path = tmp_path_factory.mktemp("ids") / "ids.npy"
    np.save(path, np.random.default_rng(7).integers(3, 96, (6, 32), dtype=np.int32))
    return path


@pytest.fixture(scope="session")
def tiny_held_out(tiny_ids: Path) -> Path:
    """Other token ids, (4, 32)."""
    import numpy as np

    np.save(tiny_ids.with_name("held-out.npy"), np.random.default_rng(8).integers(3, 96, (4, 32), dtype=np.int32))
    return tiny_ids.with_name("held-out.npy")


@pytest.fixture(scope="session")
def demo() -> Path:
    """The demo model's GGUF file, downloaded once for this user."""
    return CATALOG["demo"].pull(Progress())


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium; skipped only where it or its driver is not installed."""
    selenium = pytest.importorskip("selenium.webdriver", reason="the browser's tests need selenium")
    binary, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("no Chromium with chromedriver here (Debian: apt-get install chromium chromium-driver)")
    options = selenium.ChromeOptions()
    options.binary_location = binary
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = selenium.Chrome(options=options, service=selenium.ChromeService(driver))
    yield opened
    opened.quit()


@pytest.fixture
def memo(tmp_path: Path) -> Memo:
    return Memo(tmp_path / "memo.sqlite")


FILES = {
    "run.json",
    "cost.json",
    "scores.json",
    "trials.csv",
    "memo.sqlite",
    "recipe.yaml",
    "mergekit.yml",
    "model",
    "optuna.log",
}


@pytest.fixture(scope="session")
def base(tiny_checkpoint: Path, tiny_ids: Path, tiny_held_out: Path) -> list[Any]:
    return ["run", "--model", tiny_checkpoint, "--calibration", tiny_ids, "--held-out", tiny_held_out, "--remove", 3]


@pytest.fixture(scope="session")
def finished(lpk: Lpk, base: list[Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("runs") / "run"
    done = lpk(*base, "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    return out, json.loads(done.stdout)


def contents(out: Path) -> dict[str, bytes]:
    """The files that the same recipe must write byte for byte."""
    whole = ["run.json", "scores.json", "trials.csv", "mergekit.yml", "recipe.yaml"]
    files = [out / name for name in whole if (out / name).exists()] + sorted((out / "model").iterdir())
    return {str(file.relative_to(out)): file.read_bytes() for file in files}


@pytest.fixture
def server() -> Iterator[Server]:
    """A web server on this machine that answers as it is told."""
    with serve() as made:
        yield made


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Clock:
    """The network's clock: nobody waits for it. Nothing of this user's is read, no cache and no key."""
    made = Clock()
    monkeypatch.setattr(Web, "sleep", made.sleep)
    monkeypatch.setattr(Web, "now", made.now)
    monkeypatch.setenv("LPK_HOME", str(tmp_path / "home"))
    for key in ("OPENALEX_API_KEY", "S2_API_KEY"):
        monkeypatch.delenv(key, raising=False)
    return made
