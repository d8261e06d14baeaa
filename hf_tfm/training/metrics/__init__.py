"""Metrics under the names and result keys of the Hugging Face Hub, and baselines without a neural network.

This package compares predictions with references. It runs no model, and uses the network only for "hub:" metrics."""
