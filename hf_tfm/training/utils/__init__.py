"""What every room of the training package uses: printing from the main process, errors in one line, hashes of text.

It knows no other room, and nothing of models, data or tasks."""
