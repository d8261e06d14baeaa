"""Loads the three splits of a run from files, the Hub or a built-in dataset, and trains a tokenizer on them.

The objective checks rows and fits labels. This package builds no model, and does not shuffle or batch for training."""
