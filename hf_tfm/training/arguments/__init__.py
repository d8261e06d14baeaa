"""The options of a run as dataclasses, one per subject, with their defaults and the checks between them.

It reads no command line (see cli), opens no data and builds nothing."""
