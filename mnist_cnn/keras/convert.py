"""Convert a Keras file to a checkpoint, and a run to a Keras file."""

from pathlib import Path

from lightning import __version__ as lightning_version

from mnist_cnn.errors import InputError
from mnist_cnn.files import write_atomically
from mnist_cnn.keras import files, nets, weights
from mnist_cnn.keras.files import KerasFile
from mnist_cnn.model.classifier import DigitClassifier
from mnist_cnn.model.nets import layers_of
from mnist_cnn.model.registry import outline_net
from mnist_cnn.model.summary import count_parameters
from mnist_cnn.runs import archive
from mnist_cnn.runs.checkpoint import load_classifier


def import_keras(file: KerasFile, out: Path) -> str:
    """Write the weights of a Keras file as a checkpoint. Returns a line that describes the network.

    Raises InputError if the file is of a different network, OSError if `out` cannot be written.
    """
    try:
        options = nets.recognize(file)
        state = weights.to_torch(layers_of(outline_net(**options)), file.weights)
    except InputError as error:
        raise InputError(f"{file.path} cannot be imported: {error}") from error
    classifier = DigitClassifier(options)
    classifier.net.load_state_dict(state)
    checkpoint = {
        "state_dict": classifier.state_dict(),
        "hyper_parameters": dict(classifier.hparams),
        "pytorch-lightning_version": lightning_version,
    }
    write_atomically(out, archive.to_bytes(checkpoint))
    said = [_describe(classifier)]
    if file.layers is None:
        said.append("the file holds only weights: ReLU, this pooling and pixels in 0-1 are assumed")
    if converted := file.dtypes - {"float32"}:
        said.append(f"converted from {', '.join(sorted(converted))} to float32")
    return "; ".join(said)


def export_keras(source: Path, out: Path) -> str:
    """Write the weights of a run or a checkpoint for Keras. Returns a line that describes the network.

    Writes .keras for load_model, or .weights.h5 for load_weights.
    Raises InputError if there is no intact checkpoint, OSError if `out` cannot be written.
    """
    classifier = load_classifier(source)
    if "." in (name := classifier.hparams["model"].get("name", "")):
        raise InputError(f"the network {name} cannot be written for Keras: only model=conv and model=dense can")
    arrays = weights.to_keras(layers_of(classifier.net))
    if out.suffix == ".keras":
        content = files.keras_file(nets.keras_layers(**classifier.hparams["model"]), arrays)
    else:
        content = files.weights_file(arrays)
    write_atomically(out, content)
    return _describe(classifier)


def _describe(classifier: DigitClassifier) -> str:
    options = [f"{key} {value}" for key, value in classifier.hparams["model"].items()]
    return ", ".join([*options, f"{count_parameters(classifier.net):,} parameters"])
