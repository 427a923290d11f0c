import pytest

from mnist_cnn.errors import InputError, one_of, whole_number


@pytest.mark.parametrize("value", [True, 2.0, "2", None, -1, 8])
def test_only_whole_numbers_within_bounds_are_whole_numbers(value: object) -> None:
    with pytest.raises(InputError, match=f"^n={value} cannot be used: give a whole number from 0 to 7$"):
        whole_number("n", value, 0, 7)


def test_a_name_is_returned_or_the_one_meant_is_named() -> None:
    assert one_of("padding", "same", ["valid", "same"]) == "same"
    with pytest.raises(
        InputError, match=r"^padding=smae is not known: give one of valid, same \(did you mean same\?\)$"
    ):
        one_of("padding", "smae", ["valid", "same"])


def test_a_message_is_one_line() -> None:
    assert str(InputError("first\n\tsecond")) == "first second"
