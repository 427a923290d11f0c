import pytest

from mnist_cnn.errors import InputError, abbreviate, did_you_mean, one_of


def test_a_message_is_one_line() -> None:
    assert str(InputError("first\n\tsecond  third ")) == "first second third"


def test_a_message_cannot_control_the_terminal() -> None:
    assert str(InputError("\x1b[31m é 7 \x07 \u202e")) == r"\x1b[31m é 7 \x07 \u202e"


def test_an_allowed_name_is_returned() -> None:
    assert one_of("padding", "same", ["valid", "same"]) == "same"
    assert one_of("padding", "same", iter(["valid", "same"])) == "same"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("smae", r"^padding=smae is not known: choose one of valid, same \(did you mean same\?\)$"),
        ("reflect", "^padding=reflect is not known: choose one of valid, same$"),
        (None, "^padding=None is not known: choose one of valid, same$"),
        (["same"], r"^padding=\['same'\] is not known"),
        ("x" * 100, f"^padding={'x' * 59}… is not known"),
    ],
)
def test_another_name_is_refused_with_the_allowed_ones(value: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        one_of("padding", value, ["valid", "same"])


def test_the_closest_name_alone_is_suggested() -> None:
    assert did_you_mean("mnits", ["mnist", "kmnist", "qmnist"]) == " (did you mean mnist?)"
    assert did_you_mean("xyz", ["mnist"]) == ""
    assert did_you_mean(3, ["mnist"]) == ""


def test_long_values_are_cut_at_60_characters() -> None:
    assert abbreviate("x" * 60) == "x" * 60
    assert abbreviate("x" * 61) == "x" * 59 + "…"


def test_a_value_of_any_depth_is_abbreviated() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert len(abbreviate(deep)) <= 60
    assert abbreviate(list(range(10**6))).startswith("[0, 1, 2, ")
    assert abbreviate([1, "a"]) == "[1, 'a']"
