"""What leaves for the Hub: who may push, which files go, and how to load them afterwards. It transports nothing itself
(huggingface_hub does) and builds no model."""
