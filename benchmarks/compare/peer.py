"""A training in a process of its own, an epoch at a time."""

import json
import os
import subprocess
import sys
from typing import Any, NamedTuple


class Peer(NamedTuple):
    """A module of this package, what it is given, and its environment."""

    module: str
    given: list[str]
    environment: dict[str, str]


class Training:
    """A peer at work in its process."""

    def __init__(self, peer: Peer) -> None:
        command = [sys.executable, "-m", f"benchmarks.compare.{peer.module}", *peer.given]
        environment = {**os.environ, **peer.environment}
        environment.pop("GOMP_SPINCOUNT", None)  # ours alone, and ours sets it
        pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
        self.process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=nowhere, text=True)

    def is_ready(self) -> bool:
        """Wait until it could train; false if it cannot."""
        return self._read(lambda line: line == "ready\n") is not None

    def epoch(self) -> dict[str, Any]:
        """Let it train an epoch. Returns seconds, and its peak of memory in MiB."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        line = self._read(lambda line: line.startswith("{"))
        assert line is not None, self.process.args
        result: dict[str, Any] = json.loads(line)
        return result

    def _read(self, wanted: Any) -> str | None:
        assert self.process.stdout is not None
        return next((line for line in self.process.stdout if wanted(line)), None)

    def end(self) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate()
