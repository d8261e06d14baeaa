"""Shared helpers of the training package: printing from the main process, hashes, whole files.

They know nothing about models, data or tasks."""
