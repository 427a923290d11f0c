import pytest

from mnist_cnn.data.strengths import STRENGTHS, parse_strengths
from mnist_cnn.errors import InputError


@pytest.mark.parametrize(
    ("text", "strengths"),
    [
        ("3", [3]),
        ("0,1.5,8", [0, 1.5, 8]),
        ("0:4", [0, 1, 2, 3, 4]),
        ("0:8:4", [0, 4, 8]),
        ("0:0.3:0.1", [0, 0.1, 0.2, 0.3]),
    ],
)
def test_lists_and_ranges_are_read(text: str, strengths: list[float]) -> None:
    assert parse_strengths("shift", text) == pytest.approx(strengths)


@pytest.mark.parametrize(
    "text", ["99", "-1", "a", "", "1,", "4:0", "0:4:0", "0:4:1:1", "0:99", "nan", "0:inf", "0:4:1e-300"]
)
def test_wrong_strengths_are_refused_with_the_range(text: str) -> None:
    with pytest.raises(InputError, match=r"--shift .* is not allowed: give strengths from 0 to 14 pixels"):
        parse_strengths("shift", text)


def test_the_usual_strengths_are_allowed() -> None:
    for unit, most, usual in STRENGTHS.values():
        assert unit
        assert max(usual) <= most
