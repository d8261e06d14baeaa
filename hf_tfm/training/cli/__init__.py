"""The command line of train.py: it parses options into dataclasses and applies the defaults of the task.

It checks and returns options, and starts nothing."""
