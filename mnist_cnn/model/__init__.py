"""The networks, Keras's optimizers, and the LightningModule."""
