"""Texts and labels to the examples and batches that a model trains on, and predictions back to texts and labels.

It works on rows that are already loaded: it opens no file, knows no task class and runs no model."""
