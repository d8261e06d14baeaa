"""The parts of a training run: model, tokenizer, optimizers, output directory, callbacks, and a subclass of Trainer
that uses them.

The training loop itself is that of transformers' Trainer. It reads no data files and writes no model card."""
