"""The options of a run as dataclasses, one for each subject, with their defaults and the checks between them.

It does not parse the command line (see cli), knows no task, opens no data and builds no model."""
