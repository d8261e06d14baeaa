"""Shared helpers of the training package: printing from the main process, errors in one line, hashes of text.

They know nothing about models, data or tasks."""
