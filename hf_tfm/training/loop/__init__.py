"""The parts of a training run: model, tokenizer, optimizers, output directory, callbacks, and the Trainer over them.

It leaves the loop itself to Trainer of transformers. It reads no data files and writes no card."""
