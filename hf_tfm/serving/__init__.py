"""transformers' server and chat on our models: `hf-tfm serve` and `hf-tfm chat`. All but the models is theirs."""
