"""Everything that train.py uses. Each room imports only the ones before it: utils, arguments, builtin_data, metrics,
preprocessing, objectives, data, loop, report, training_run, cli, __main__.

The package imports the models and the model cards; neither imports it. It downloads nothing unless a Hub name is given,
and defines no layers and no model losses."""
