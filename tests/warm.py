"""``lpk`` in a process forked from one that has imported the large libraries already.

A fresh interpreter spends 2.4 s of processor on importing torch and transformers; hundreds of them were half of the suite's time.
What a fork cannot show is tested with fresh ones: how light the imports are, the installed wheel, a run that is killed.
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import lpk

#: Seconds after which a command is ended.
LIMIT = 600


def call(
    arguments: Sequence[str], cwd: Path | None = None, env: Mapping[str, str] = os.environ
) -> subprocess.CompletedProcess[str]:
    """``python -m lpk`` with these arguments; of the variables those of lpk may differ from this process's."""
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        said = [Path(folder, name) for name in ("stdout", "stderr")]
        files = [os.devnull, *map(str, said)]
        wanted = {"arguments": arguments, "cwd": str(cwd or Path.cwd()), "env": dict(env), "files": files}
        print(json.dumps(wanted), file=server.stdin, flush=True)
        code = server.stdout.readline()
        assert code, "the process that forks has ended"
        out, err = (path.read_text(encoding="utf-8") for path in said)
    return subprocess.CompletedProcess(["lpk", *arguments], int(code), out, err)


@functools.cache
def _server() -> subprocess.Popen[str]:
    """It ends when its stdin does, with this process."""
    return subprocess.Popen([sys.executable, "-P", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def serve() -> None:
    """Fork for every line; what is forked goes on as the program."""
    _import()
    gc.freeze()
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _become(**json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _import() -> None:
    """All of lpk, and what a run of a tiny Llama would import when it comes to it."""
    from lpk.commands.run import quieten_libraries

    quieten_libraries()  # libraries read these variables when they are imported
    names = [found.name for found in pkgutil.walk_packages(lpk.__path__, "lpk.") if found.name != "lpk.__main__"]
    later = [
        "sqlalchemy.dialects.sqlite",
        "transformers.convert_slow_tokenizer",
        "transformers.models.llama.modeling_llama",
    ]
    for name in names + later:
        importlib.import_module(name)


def _become(arguments: list[str], cwd: str, env: dict[str, str], files: list[str]) -> NoReturn:
    signal.alarm(LIMIT)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    for number, file in enumerate(files):
        os.dup2(os.open(file, os.O_RDWR | os.O_CREAT), number)
    sys.argv[1:] = arguments
    sys.path.insert(0, cwd)
    code = 1
    try:
        runpy.run_module("lpk", run_name="__main__", alter_sys=True)
    except SystemExit as done:
        code = int(done.code or 0)
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # taking all modules apart would need 0.3 s


if __name__ == "__main__":
    serve()
