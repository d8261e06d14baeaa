"""The forward pass asks nothing about the configuration: choices are made in `__init__`.

Free to ask in any function that a forward reaches: whether an argument or an optional submodule is there (`is None`),
of which class an argument is, and the truth of an argument. Every other question is listed here, with the reason.
"""

import ast
from pathlib import Path

import hf_tfm.modeling

FLOOR = sorted(Path(hf_tfm.modeling.__file__).parent.glob("*.py"))

# function -> questions about more than the presence of an input
EXCEPTIONS = {
    # what an input holds: a cache that is filled, packed rows that a mask would join, labels that say their task
    "CrossAttention.project_qkv": {"past_key_values.is_updated.get(self.layer_idx, False)"},
    # a mask whose numbers say the opposite
    "check_mask_values": {
        "not attention_mask.is_floating_point()",
        "is_tracing(attention_mask)",
        "(attention_mask < 0).any()",
    },
    "check_packed_rows": {"restarts.any()", "is_torchdynamo_compiling()"},
    # a given cache that would forget keys
    "check_cache": {
        "own is cache",
        "may_forget(layer, None)",
        "may_forget(layer, window)",
        "layer.get_max_length() < memory.shape[1]",
        "layer.get_max_length() < layer.get_seq_length() + num_tokens",
    },
    "may_forget": {"getattr(layer, 'is_sliding', False)", "layer.get_max_length() < window"},
    # and one whose keys have other rotary frequencies than new tokens
    "ChangingRotaryEmbedding.check_cached_keys": {"is_tracing(position_ids)", "not int(cache.get_seq_length())"},
    "LongRotaryEmbedding.outdated_keys": {"cached <= longest < length"},
    "DynamicRotaryEmbedding.outdated_keys": {"length > self.original_max_seq_len"},
    # vocabularies, compared in `__init__`
    "ShiftRight.from_source": {"not self.reads_source"},
    "Stack.embed_words": {"not is_tracing(embeds)", "embeds.numel() == 0"},
    "is_padding_mask": {"attention_mask.dim() == 2"},
    "infer_problem_type": {"labels.is_floating_point()", "logits.shape[-1] == 1"},
    "classification_loss": {"infer_problem_type(logits, labels)"},
    # a call may overrule the configured loss, as it may overrule `use_cache`
    "LanguageHead.logits_and_loss": {"self.uses_fused_loss(fused_loss)"},
    "TfmSeq2SeqForConditionalGeneration.target_mask": {"self.uses_fused_loss(fused_loss)"},
    "mask_after_last_label": {"is_tracing(labels)"},
    # the fused loss: whether its numbers would be right, and what torch can do in one step
    "LanguageHead.compute_fused_loss": {"not 0.0 <= smoothing <= 1.0"},
    "fused_loss_obstacle": {
        "not issubclass(kind, LMHead)",
        "model.tp_size not in (None, 1)",
        "model.loss_function not in (ForCausalLMLoss, ForMaskedLMLoss)",
        "type(model).compute_logits is not LanguageHead.compute_logits",
    },
    "select_scored": {"is_tracing(hidden_states)"},
    "LinearCrossEntropy.forward": {"dtype == torch.float32"},
    # attention kernels that fall back to a plain one where rows are not whole
    "sliding_window_attention_forward": {
        "not whole",
        "module.is_causal",
        "length == key.shape[2]",
        "length <= window",
    },
    "sliding_window_mask": {"is_whole_causal_row(**kwargs)"},
    "blockwise_attention_forward": {"not module.is_causal", "length != key.shape[2]"},
    "blockwise_mask": {"is_whole_causal_row(**kwargs)"},
    "is_whole_causal_row": {"not torch.is_tensor(q_offset)", "q_offset == 0", "q_length == kv_length", "from_start"},
}

# Unpadding decides before the blocks whether and how they may run on real tokens alone: only here values, the
# configuration and devices are read.
UNPADDING = {
    "unpad",
    "unpad_with_memory",
    "tokens_per_group",
    "backend_for",
    "run_unpadded",
    "lengths_from_mask",
    "lengths_from_positions",
    "choose_varlen_backend",
    "supports_torch_varlen",
    "varlen_kwargs",
    "compute_dtype",
}

# What a forward reads from the configuration at each call, since it may change after the model is made.
READ_AT_EACH_CALL = {
    # set_attn_implementation, a grown vocabulary, Trainer and callers set them
    "_attn_implementation", "pad_token_id", "eos_token_id", "decoder_start_token_id", "fused_loss", "problem_type",
    # a new cache is made for them, and messages name them
    "decoder_view", "vocab_size", "decoder_vocab_size", "rope_parameters",
}  # fmt: skip

# called through a registry or by transformers, so that no body of a forward mentions them by name
CALLED_INDIRECTLY = {
    "regression_loss", "single_label_loss", "multi_label_loss", "__call__", "attend", "distance_bias",
    "sliding_window_attention_forward", "sliding_window_mask", "blockwise_attention_forward", "blockwise_mask",
}  # fmt: skip
# run once, or by transformers outside forward
NOT_IN_FORWARD = {
    "__init__", "_apply", "_init_weights", "__getattr__", "skip_weight", "check", "between", "dropout",
}  # fmt: skip


def functions_of_the_floor():
    """Qualified name -> syntax tree, for every function and method."""
    found = {}
    for file in FLOOR:
        # its functions make fields of configurations, and share names with layers and methods of tensors
        if file.name == "field_values.py":
            continue
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.FunctionDef):
                found[node.name] = node
            elif isinstance(node, ast.ClassDef):
                found |= {f"{node.name}.{m.name}": m for m in node.body if isinstance(m, ast.FunctionDef)}
    return found


def mentioned(tree):
    """Every bare name and attribute in a function's body: what it may call, directly or through an alias."""
    body = ast.Module(tree.body, [])
    return {n.id for n in ast.walk(body) if isinstance(n, ast.Name)} | {
        n.attr for n in ast.walk(body) if isinstance(n, ast.Attribute)
    }


def reachable(functions):
    names = {"forward", *CALLED_INDIRECTLY}
    while True:
        inside = {
            full: tree
            for full, tree in functions.items()
            if full.split(".")[-1] in names and full.split(".")[-1] not in NOT_IN_FORWARD
        }
        more = names.union(*(mentioned(tree) for tree in inside.values()))
        if more == names:
            return inside
        names = more


def parts(test):
    """The single questions of a test: `a and b` asks two."""
    return [p for value in test.values for p in parts(value)] if isinstance(test, ast.BoolOp) else [test]


def questions(tree):
    """The single questions of a function, as syntax trees; a `try` or a `match` is one by itself."""
    asked = []
    for node in ast.walk(tree):
        tests = []
        if isinstance(node, ast.If | ast.IfExp | ast.While | ast.Assert):
            tests = [node.test]
        elif isinstance(node, ast.comprehension):
            tests = node.ifs
        elif isinstance(node, ast.BoolOp):
            tests = [node]
        elif isinstance(node, ast.Try | ast.Match):
            asked.append(node)
        asked += [part for test in tests for part in parts(test)]
    return asked


def is_presence(question, parameters):
    """Whether a question is about the presence or class of an input or of an optional submodule."""
    if isinstance(question, ast.UnaryOp) and isinstance(question.op, ast.Not):
        return is_presence(question.operand, parameters)
    if isinstance(question, ast.Name):
        return question.id in parameters
    if isinstance(question, ast.Call):
        return ast.unparse(question.func) in ("isinstance", "is_padding_mask")
    if not isinstance(question, ast.Compare) or len(question.ops) != 1:
        return False
    left, right = question.left, question.comparators[0]
    if isinstance(question.ops[0], ast.Eq):  # (a is None) == (b is None)
        return all(isinstance(side, ast.Compare) and is_presence(side, parameters) for side in (left, right))
    about_none = isinstance(question.ops[0], ast.Is | ast.IsNot) and isinstance(right, ast.Constant)
    return about_none and right.value is None and "config" not in ast.unparse(left)


def questions_beyond_presence(tree):
    parameters = {argument.arg for argument in ast.walk(tree.args) if isinstance(argument, ast.arg)}
    return {ast.unparse(question) for question in questions(tree) if not is_presence(question, parameters)}


def test_a_forward_asks_for_the_presence_of_inputs_and_submodules_only():
    found = {name: questions_beyond_presence(tree) for name, tree in reachable(functions_of_the_floor()).items()}
    asked = {name: tests for name, tests in found.items() if tests and name not in UNPADDING}
    new = {name: sorted(tests - EXCEPTIONS.get(name, set())) for name, tests in asked.items()}
    new = {name: tests for name, tests in new.items() if tests}
    assert not new, f"decide these in __init__: {new}"
    gone = {name: sorted(tests - asked.get(name, set())) for name, tests in EXCEPTIONS.items()}
    gone = {name: tests for name, tests in gone.items() if tests}
    assert not gone, f"listed but no longer asked: {gone}"


def test_a_forward_reads_fields_only_that_may_change():
    # which layers read a window, say, is decided once
    read = {
        (name, node.attr)
        for name, tree in reachable(functions_of_the_floor()).items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value).rpartition(".")[2] in ("config", "decoder_view")
        if name not in UNPADDING
    }
    new = sorted(found for found in read if found[1] not in READ_AT_EACH_CALL)
    assert not new, f"read these in __init__: {new}"
    gone = READ_AT_EACH_CALL - {field for _, field in read}
    assert not gone, f"listed but no longer read: {gone}"


def test_no_exception_is_about_the_configuration():
    asked = [test for tests in EXCEPTIONS.values() for test in tests]
    assert not [test for test in asked if "config" in test or "self.training" in test or ".device" in test]
    assert len(asked) <= 46, "an exception more is a decision: can the question be asked in __init__?"


def test_the_check_sees_what_it_forbids():
    def beyond_presence(body):
        return questions_beyond_presence(ast.parse(f"def forward(self, x, mask):\n  {body}").body[0])

    for body in ("if self.config.norm: pass", "if self.config.norm is not None: pass", "y = x if self.parallel else 2"):
        assert beyond_presence(body), f"{body} is not seen"
    for body in ("if self.q_norm is not None: pass", "if mask is None: pass", "if not isinstance(x, int): pass"):
        assert not beyond_presence(body), f"{body} is forbidden"


def test_the_walk_reaches_every_forward_and_the_helpers_behind_it():
    names = set(reachable(functions_of_the_floor()))
    helpers = {"SelfAttention.project_qkv", "alibi_slopes", "key_distance", "ShiftRight.from_labels"}
    assert {"TfmBlock.forward", "Residual.branch_input", "LoopAttention.attend", *helpers} <= names
    assert names >= UNPADDING
    assert "make_norm" not in names, "construction is not part of a forward"
