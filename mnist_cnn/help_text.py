"""What --help lists: the groups with their choices, and each key with its value and what the comment in conf/ says."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import fill, shorten
from typing import Any

import yaml  # type: ignore[import-untyped]

_WIDTH, _KEY_WIDTH = 80, 30  # columns


def list_groups(files: Sequence[Path]) -> str:
    """List the groups. Hydra's own list lacks your folders, and has search/, which train does not take."""
    choices = defaultdict[str, set[str]](set)
    for file in files:
        choices[file.parent.name].add(file.stem)
    lines = (f"{group}: {', '.join(sorted(choices[group]))}" for group in sorted(choices.keys() - {"search"}))
    return "\n".join(fill(line, _WIDTH, subsequent_indent="  ") for line in lines)


def list_keys(config: Mapping[str, Any], comments: Mapping[str, str]) -> str:
    """List the keys of a configuration, those without a group first, each in a line with its value and comment.

    Classes (_target_) are left out: a group's choice sets them.
    """
    values = dict(sorted(_flatten(config), key=lambda each: "." in each[0]))
    return "\n".join(_line(f"{key}={write_value(value)}", comments.get(key, "")) for key, value in values.items())


def read_comments(file: Path, group: str = "") -> dict[str, str]:
    """Return the comments beside the keys of a YAML file, up to the first semicolon or full stop.

    If it begins with another file of its folder, as in `defaults: [auto]`, that file's are among them.
    """
    text = file.read_text("utf-8")
    lines, root = text.splitlines(), yaml.compose(text)
    if not isinstance(root, yaml.MappingNode):
        return {}
    comments = dict[str, str]()
    for name in yaml.safe_load(text).get("defaults") or []:
        if (parent := file.parent / f"{name}.yaml").is_file():
            comments |= read_comments(parent, group)
    return comments | dict(_comments(root, lines, group))


def write_value(value: object) -> str:
    """Write a value as it is given on the command line."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _line(setting: str, comment: str) -> str:
    start = f"{setting:<{_KEY_WIDTH}}  "
    return f"{start}{shorten(comment, max(_WIDTH - len(start), 1), placeholder='…')}".rstrip()


def _flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        elif key != "_target_":
            yield f"{prefix}{key}", value


def _comments(node: yaml.MappingNode, lines: Sequence[str], group: str) -> Iterator[tuple[str, str]]:
    for key, value in node.value:
        name = f"{group}.{key.value}".lstrip(".")
        if comment := re.search(r"\s# (.+?)(; |\. |$)", lines[key.start_mark.line]):
            yield name, comment[1]
        if isinstance(value, yaml.MappingNode):
            yield from _comments(value, lines, name)
