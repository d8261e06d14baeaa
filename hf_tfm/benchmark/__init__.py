"""Measurements that back the promises of the README: how deep and how long a model may be, and how fast and
small ours is beside its peers. Nothing imports this room; its tools print tables, draw pictures and decide nothing."""
