"""Measurements that back the promises of the README: how deep and how long a model may be. Nothing imports this room;
its tools print tables, draw pictures and decide nothing."""
