"""Pictures for TensorBoard, W&B and MLflow after a training: the confusion matrix and the misread test images."""

import logging
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from mnist_cnn.data.datasets import Images
from mnist_cnn.errors import missing_package
from mnist_cnn.model.classifier import DigitClassifier

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)


def log_pictures(loggers: Sequence[Logger], classifier: DigitClassifier, test: Images, step: int) -> None:
    """Classify the test images, and log what was answered. If that is not possible, one line says why."""
    able = [each for each in loggers if isinstance(each, TensorBoardLogger | WandbLogger | MLFlowLogger)]
    if not able:
        return
    if find_spec("matplotlib") is None:
        log.warning("warning: no pictures for the logger: %s", missing_package("they need matplotlib", "report"))
        return
    try:
        for name, figure in _draw(classifier, test).items():
            for logger in able:
                _log_figure(logger, name, figure, step)
    except Exception as error:  # noqa: BLE001 - a logger's server may be gone, which must not cost the result
        log.warning("warning: no pictures for the logger: %s", error)


def _draw(classifier: DigitClassifier, test: Images) -> "dict[str, Figure]":
    from mnist_cnn.reports import plots  # matplotlib
    from mnist_cnn.reports.answers import answer

    answers = answer(classifier, test)
    mistakes = {"misread": plots.plot_misclassified(answers)} if len(answers.wrong) else {}
    return {"confusion": plots.plot_confusion(answers), **mistakes}


def _log_figure(logger: Logger, name: str, figure: "Figure", step: int) -> None:
    match logger:
        case TensorBoardLogger():
            logger.experiment.add_figure(name, figure, step)
        case WandbLogger():
            logger.log_image(name, [figure], step)
        case MLFlowLogger():
            logger.experiment.log_figure(logger.run_id, figure, f"{name}.png")
