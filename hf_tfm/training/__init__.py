"""What train.py is made of, in rooms that know only the rooms before them: utils, arguments, builtin_data, metrics,
preprocessing, objectives, data, loop, report, cli.

The package knows the models and the model cards; neither knows it. It downloads nothing unless a Hub name is given, and
it defines no layer and no model loss."""
