"""Other tools on our models: with the package imported, from a folder by `trust_remote_code=True` in a process without
it, and on native models with the same weights. `model_cards/compatibility.md` is written by these tests."""
