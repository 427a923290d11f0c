"""Our commands in processes of their own, forked from a server that has imported torch: each start saves 5 to 10 s."""

import faulthandler
import multiprocessing
import os
import runpy
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported
SERVER: Any = multiprocessing.get_context("forkserver" if os.name == "posix" else "spawn")  # Windows cannot fork
SERVER.set_forkserver_preload(["mnist_cnn.training.assemble", "mnist_cnn.sweeps.sweep", "mnist_cnn.data.pictures"])

_LIMIT = 300  # seconds; then a command prints where its threads are, and ends


class Command:
    """`python -m MODULE ARGUMENTS`, or `python -c CODE`, as subprocess.Popen would run it."""

    def __init__(self, *arguments: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> None:
        self._folder = Path(tempfile.mkdtemp())
        self._said = [self._folder / "out", self._folder / "err"]
        target = (arguments, self._said, cwd or Path.cwd(), dict(os.environ if env is None else env))
        self._process = SERVER.Process(target=_run, args=target)
        self._process.start()

    def poll(self) -> int | None:
        return self._process.exitcode

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        if self._process.pid is not None and self.poll() is None:
            os.kill(self._process.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def communicate(self) -> tuple[str, str]:
        self._process.join()
        out, err = (file.read_text() if file.exists() else "" for file in self._said)
        shutil.rmtree(self._folder)
        return out, err


def _run(arguments: tuple[str, ...], said: list[Path], cwd: Path, env: dict[str, str]) -> None:
    for descriptor, name in enumerate(said, start=1):
        os.dup2(os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT), descriptor)
    faulthandler.dump_traceback_later(_LIMIT, exit=True, file=2)
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background would have them ignored
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    kind, what, *rest = arguments
    sys.argv = [what, *rest]
    if kind == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(compile(what, "<code>", "exec"), {"__name__": "__main__"})
