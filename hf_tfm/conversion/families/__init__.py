"""Native families, one module per group of relatives. `registry.py` lists the modules; they import only the core and
one another."""
