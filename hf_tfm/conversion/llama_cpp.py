"""The architectures of llama.cpp: what its converter to GGUF makes of a native checkpoint.

From the classes registered in `convert_hf_to_gguf.py` (llama.cpp as of llama-cpp-python 0.3.36). Model types whose
classes it does not know are left out, also where a related one might do."""

__all__ = ["LLAMA_CPP_ARCHITECTURES"]

# native model type -> architecture
LLAMA_CPP_ARCHITECTURES = {
    "bert": "bert", "roberta": "bert", "xlm-roberta": "bert", "camembert": "bert", "distilbert": "bert",
    "modernbert": "modern-bert", "nomic_bert": "bert", "eurobert": "eurobert", "gpt2": "gpt2",
    "gpt_bigcode": "starcoder", "gpt_neox": "gptneox", "bloom": "bloom", "falcon": "falcon",
    "starcoder2": "starcoder2", "phi": "phi2", "phi3": "phi3", "stablelm": "stablelm", "cohere": "command-r",
    "cohere2": "cohere2", "llama": "llama", "mistral": "llama", "seed_oss": "seed_oss", "arcee": "arcee",
    "nemotron": "nemotron", "smollm3": "smollm3", "jais2": "jais2", "qwen2": "qwen2", "qwen3": "qwen3",
    "glm": "chatglm", "glm4": "glm4", "ernie4_5": "ernie4_5", "gemma": "gemma", "gemma2": "gemma2",
    "gemma3_text": "gemma3", "olmo": "olmo", "olmo2": "olmo2", "olmo3": "olmo2", "exaone4": "exaone4",
    "mixtral": "llama", "olmoe": "olmoe", "qwen2_moe": "qwen2moe", "qwen3_moe": "qwen3moe", "mellum": "mellum",
    "granite": "granite", "granite_swa": "granite_swa", "granitemoe": "granitemoe", "granitemoeshared": "granitemoe",
    "granitemoe_swa": "granite_swa", "t5": "t5", "mt5": "t5",
}  # fmt: skip
