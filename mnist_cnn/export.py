"""Write what a run trained for other programs: `python -m mnist_cnn.export RUN OUT.onnx|OUT.pt2|OUT.safetensors`.

OUT.onnx is for onnxruntime, OUT.pt2 for torch.export.load, OUT.safetensors (with MODEL_CARD.md beside it) for plain
torch. OUT/ is a folder for the Hugging Face Hub: model.safetensors, model.onnx, and the card as README.md.
All take images (batch, 1, 28, 28) as floats 0-1, or with --uint8 as bytes 0-255, and return logits (batch, 10). A file
is loaded again and compared with torch on 1,000 images before it is put in place; an existing one is replaced.
"""

from collections.abc import Sequence

from mnist_cnn.cli import Parser, run_command
from mnist_cnn.exporting.request import check_request, read_request
from mnist_cnn.runs.directory import checkpoint_file
from mnist_cnn.terminal import waiting


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, export, and print a line."""
    parser = Parser(prog="python -m mnist_cnn.export", description="Write what a run trained for other programs.")
    parser.add_argument("run", metavar="RUN", help="a run directory (outputs/latest) or a checkpoint file")
    parser.add_argument("out", metavar="OUT", help="the file to write: .onnx, .pt2 or .safetensors; or a folder, OUT/")
    parser.add_argument("--uint8", action="store_true", help="take bytes 0-255 and scale them inside (.onnx, .pt2)")
    parser.add_argument("--license", metavar="NAME", help="of the weights, named on the card, such as mit")
    options = parser.parse_args(arguments)
    request = read_request(options.out)
    check_request(request, options.uint8, options.license)
    checkpoint = checkpoint_file(options.run)
    with waiting("loading PyTorch"):
        from mnist_cnn.exporting.run_export import export_checkpoint

    print(export_checkpoint(checkpoint, request, options.uint8, options.license))


if __name__ == "__main__":
    run_command(main)
