"""The tables that the benchmarks print."""

from pathlib import Path

from benchmarks import charts, fast
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


def test_the_time_to_an_accuracy_is_keras_epochs_to_the_same_mean() -> None:
    fits = [[0.98, 0.991, *[0.992] * 12], [0.985, 0.989, *[0.992] * 12]]
    keras = [{"seconds": 10.0 + (number == 0), "test/acc": each} for fit in fits for number, each in enumerate(fit)]
    ours = {1: [(0.990, 2.0), (0.992, 2.0)], 3: [(0.993, 8.0), (0.994, 8.0)]}
    head, first, second = fast.report(ours, keras).splitlines()
    assert head.startswith("Keras, 10.0 s an epoch, n = 2: 0.9825  0.9900  0.9920")
    assert first.startswith("99.0% with 1 epochs: 0.9910 ± 0.0014 (0.9900 - 0.9920, n = 2) in 2.00 s")
    assert first.endswith("Keras needs 2 epochs: 10.0 times as long")
    assert second.endswith("Keras needs more than 14 epochs: over 17.5 times as long")


def test_the_charts_read_means_and_spreads_from_cells() -> None:
    assert charts.values("0.951 ± 0.009, 0.845 ± 0.022") == [(0.951, 0.009), (0.845, 0.022)]
    assert charts.numbers("3,440") == [3440]
    assert charts.numbers("turned by 15, 30, 45 degrees") == [15, 30, 45]


def test_every_chart_is_drawn_from_its_table_in_the_readme() -> None:
    bars = [text.get_text() for text in charts.compare().axes[0].texts]
    assert bars == [cells[0] for cells in charts.read_table("| ms a step |").values()][::-1]
    for name, chart in charts.CHARTS.items():
        assert all(axes.has_data() for axes in chart().axes), name
        assert f'srcset="{name}-dark.png"' in (charts.FOLDER / "README.md").read_text("utf-8")
