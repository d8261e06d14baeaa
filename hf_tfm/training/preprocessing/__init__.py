"""Turns texts and labels into examples and batches, and predictions back into texts and labels.

Rows are loaded already: this package opens no data files, knows no task class and runs no model."""
