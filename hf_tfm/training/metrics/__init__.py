"""Metrics under the names and result keys of the Hugging Face Hub, and baselines without a neural network.

It compares predictions with references. It runs no model, and opens no socket unless a Hub metric is asked for."""
