from pathlib import Path

from benchmarks.compare import __main__ as compare


def test_the_table_has_medians_and_ratios_round_by_round() -> None:
    def epochs(*seconds: float) -> list[dict[str, float]]:
        return [{"seconds": each, "MiB": 500} for each in seconds]

    taken = {"theirs": epochs(9.38 * 4, 9.38 * 2, 9.38 * 3), "ours": epochs(9.38, 9.38 * 2, 9.38)}
    _, ours, theirs = compare.table(taken, flops=compare.FLOP / 5e-3).splitlines()
    assert ours.split() == ["ours", "10.0", "10.0", "-", "20.0", "1.00", "1.00", "-", "1.00", "50%", "500"]
    assert theirs.split() == ["theirs", "30.0", "20.0", "-", "40.0", "3.00", "1.00", "-", "4.00", "17%", "500"]


def test_every_peer_is_a_module_that_is_there() -> None:
    folder = Path(compare.__file__).parent
    assert all((folder / f"{peer.module}.py").is_file() for peer in compare.peers(Path("data"), Path("x.npz")).values())
