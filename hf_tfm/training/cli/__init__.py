"""The command line of train.py: options to dataclasses, with the defaults of the task.

It checks and returns options, and starts nothing; it imports nothing slow, so that --help answers at once."""
