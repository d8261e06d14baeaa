"""The commands of `hf-tfm bench`: depth and length of a model, and its speed and memory compared with other
implementations. `harness` holds what the tools share, `tools` the commands. No other room imports this one, and it
trains and measures models without saving them."""
