"""Names are the field's: words that only an author of this package would understand do not come back."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SEARCHED = [
    path
    for pattern in ("hf_tfm/**/*", "tests/**/*.py", "model_cards/*.md", "*.md", "*.py", "pyproject.toml")
    for path in ROOT.glob(pattern)
    if path.suffix in {".py", ".md", ".toml", ".json", ".yaml", ".sh"}
    and path.name not in {"test_names.py", "test_readme.py"}  # which list them
]

# retired word (a regular expression) -> what the field says
RETIRED = {
    r"(the|a|its|our) hosts?('s)?|hosts'": "transformers, Trainer, datasets ... ('host' means CPU to torch readers)",
    r"dice": "random numbers",
    r"(the|one|a|this|that) doors?": "entry point; unpadding",
    r"seats?": "the norm's name; an optional submodule",
    r"lean|lean_loss|lean_obstacle": "fused_loss, fused_loss_obstacle",
    r"WordHead|AlignedWords|NoCap|make_cap|unbend": "LMHead, pad_vocabulary, softcap_",
    r"RealTokens\w*|find_real_tokens|find_rows|DOORS": "UnpaddedBatch, unpad",
    r"OneByOne|find_way|one_by_one": "LoopAttention, choose_varlen_backend",
    r"sdpa_banded|banded": "sdpa_sliding_window",
    r"eager_blocks|blocked_attention\w*": "eager_blockwise",
    r"hf_tfm\.onednn": "hf_tfm.cpu_inference",
    r"no_sinks|read_all|as_they_are|NoSharedExpert|plain_way_out|NoBalance|NoPooler|NoTokenTypes": "None, asked for",
    r"shifted_tasks|ShiftedSource\w*|make_shift": "seq2seq_heads, Seq2Seq..., DECODER_SHIFTS",
    r"keep_side|own_heads_bias|tell_host|recipe_words|refuse_older|own_cache": "see the module's functions",
    r"norms_inside|layer_kinds|families\.json": "families/olmo.py, rope_and_window_mappings.py, parity_results.json",
    r"metric_table|denoising_noise|word_labels|python_sets|TrainSettings": "metric_registry, span_corruption, ...",
    r"contenders?|everything\.py|ceilings?": "model pairs, run_all, hardware limits",
}


@pytest.mark.parametrize("word", RETIRED)
def test_a_retired_word_does_not_come_back(word):
    pattern = re.compile(rf"(?<![\w-])({word})(?![\w-])")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sorted(set(SEARCHED))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found, f"say {RETIRED[word]}:\n" + "\n".join(found)


FILES = sorted(path for folder in ("", "hf_tfm/**/", "tests/**/") for path in ROOT.glob(f"{folder}*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_file_is_longer_than_one_idea(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 350
