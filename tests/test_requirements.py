"""requirements.txt locks what pyproject.toml asks for."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements.txt").read_text()
PINS = re.findall(r"^([\w.-]+)==(\S+).*\\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", LOCK, re.MULTILINE)


def test_every_package_is_locked_by_hashes_and_no_host_is_named() -> None:
    lines = [line for line in LOCK.splitlines() if not line.startswith(("#", "    --hash="))]
    assert len(lines) == len(PINS) > 50
    assert "://" not in LOCK
    assert not re.search(r"^--", LOCK, re.MULTILINE)


def test_the_lock_is_what_the_project_asks_for() -> None:
    extras = PROJECT["optional-dependencies"]
    lines = [line for name in ("dev", "tensorboard", "keras", "sweep", "report", "export") for line in extras[name]]
    asked = map(Requirement, PROJECT["dependencies"] + lines)
    locked = {name: version for name, version, _ in PINS}
    for requirement in asked:
        if requirement.name != PROJECT["name"]:
            assert requirement.specifier.contains(locked[requirement.name.lower()]), requirement


def test_the_malicious_releases_of_lightning_are_excluded() -> None:
    (lightning,) = (line for line in map(Requirement, PROJECT["dependencies"]) if line.name == "lightning")
    assert not any(lightning.specifier.contains(version) for version in ("2.6.2", "2.6.3"))
    assert lightning.specifier.contains("2.6.6")
