"""One row of `hf-tfm bench all` in a process of its own: `python -m hf_tfm.benchmark.row TOOL [--option value ...]`."""

import sys

from . import generate, import_time, infer, memory, train

__all__ = ["TOOLS"]

TOOLS = {
    "infer": infer.main,
    "train": train.main,
    "generate": generate.main,
    "memory": memory.main,
    "import": import_time.main,
}

if __name__ == "__main__":
    TOOLS[sys.argv[1]](sys.argv[2:], f"hf-tfm bench {sys.argv[1]}")
