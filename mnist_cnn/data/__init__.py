"""Data sets, downloads, augmentation, the data module, and pictures as 28x28 images."""
