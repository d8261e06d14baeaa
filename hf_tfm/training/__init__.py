"""What train.py is made of: data, tokenizer, objectives, metrics, optimisers, arguments, pictures.

The room knows the models and the cards; neither knows the room. It downloads nothing unless a Hub name is given, and it
defines no layer, no loss and no training loop: those are the model's and the host's Trainer's."""
