"""What was trained, for other programs: written as ONNX, torch.export and safetensors, and checked."""
