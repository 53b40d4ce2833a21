"""The cache of files that were downloaded: kept by their hash, found by their address."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from lpk.core.files import room, write_bytes, write_text


def cache() -> Path:
    """Where answers and times of requests are kept: ``$LPK_HOME``, else the user's cache folder."""
    import platformdirs

    return Path(os.environ.get("LPK_HOME") or platformdirs.user_cache_dir("lpk")) / "evidence"


def find(address: str) -> Path | None:
    """The file that an address gave, if it is here and whole."""
    with suppress(OSError, UnicodeDecodeError):
        sha256 = _known(address).read_text(encoding="ascii").strip()
        file = cache() / "files" / f"{sha256}.pdf"
        if len(sha256) == 64 and sha256.isalnum() and hashlib.sha256(file.read_bytes()).hexdigest() == sha256:
            return file
    return None


def keep(address: str, content: bytes) -> Path:
    """Put what an address gave into the cache."""
    sha256, known = hashlib.sha256(content).hexdigest(), _known(address)
    file = cache() / "files" / f"{sha256}.pdf"
    with room(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        known.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(file, content)
        write_text(known, sha256)
    return file


def _known(address: str) -> Path:
    """Where the hash of an address's file is written down."""
    return cache() / "addresses" / hashlib.sha256(address.encode()).hexdigest()
