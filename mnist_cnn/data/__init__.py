"""Images in: data sets, downloads, the data module, and any picture as 28x28."""
