"""The forward pass asks no questions: what any floor function reachable from a forward may ask is listed here."""

import ast
from pathlib import Path

import hf_tfm.modeling

FLOOR = sorted(Path(hf_tfm.modeling.__file__).parent.glob("*.py"))

# Whether an input is there, and of what kind: none, a 2-D mask, a ready dictionary of masks, a cache with two sides,
# memory already cached, ids or vectors, labels.
ALLOWED = {
    # inputs of trunks
    "Stack.look_up": {"(input_ids is None) == (inputs_embeds is None)", "inputs_embeds is None"},
    "Stack.masks": {"isinstance(rows.attention_mask, dict)"},
    "count_positions": {"position_ids is not None", "cache is None", "is_padding_mask(attention_mask)"},
    "is_padding_mask": {"isinstance(attention_mask, torch.Tensor)", "attention_mask.dim() == 2"},
    "document_mask": {"position_ids is None", "attention_mask is not None", "documents is None"},
    "refuse_packed_under_mask": {
        "position_ids is None",
        "not is_padding_mask(attention_mask)",
        "is_torchdynamo_compiling()",
        "restarts.any()",
    },
    "TfmDecoderModel.forward": {"token_type_ids is not None", "past_key_values is None", "use_cache"},
    "NoTokenTypes.forward": {"token_type_ids is not None"},
    "TokenTypes.forward": {"token_type_ids is None"},
    "TfmSeq2SeqDecoder.forward": {"past_key_values is None", "use_cache"},
    "TfmSeq2SeqModel.forward": {
        "encoder_outputs is None",
        "not isinstance(encoder_outputs, BaseModelOutput | MoEModelOutput)",
    },
    # the cache
    "key_distance": {"cache is not None"},
    "own_cache": {"isinstance(cache, EncoderDecoderCache)"},
    "remember": {"cache is None"},
    "remember_memory": {"cache is None"},
    "is_stored": {"cache is not None", "cache.is_updated.get(layer_idx, False)"},
    "CrossAttention.heads": {"is_stored(past_key_values, self.layer_idx)"},
    "eager_attention_forward": {"addition is None"},
    # inputs of heads
    "TfmDecoderForCausalLM.forward": {"labels is None"},
    "TfmEncoderForMultipleChoice.forward": {"labels is None"},
    "TfmSeq2SeqForConditionalGeneration.forward": {
        "labels is not None",
        "decoder_input_ids is None",
        "decoder_inputs_embeds is None",
    },
    "ShiftedSourceClassification.forward": {"labels is not None"},
    "ShiftedSourceQuestionAnswering.forward": {
        "start_positions is not None",
        "end_positions is not None",
    },
    "SequenceClassification.forward": {"labels is not None"},
    "TokenClassification.forward": {"labels is None"},
    "QuestionAnswering.forward": {"start_positions is not None", "end_positions is not None"},
    "LanguageHead.is_lean": {"lean_loss is None"},
    "read_targets": {
        "mask is not None",
        "position_ids is not None",
        "labels is None",
        "not lean",
        "is_tracing(labels)",
    },
    "flat_choices": {"choices is None"},
    "count_choices": {"given is not None"},
    "target_ids": {"given is not None", "vectors is not None", "source is None"},
    "FirstToken.forward": {"is_padding_mask(attention_mask)"},
    "MeanOfTokens.forward": {"is_padding_mask(attention_mask)"},
    "LastToken.forward": {"real is None"},
    "LastToken.by_mask": {"is_padding_mask(attention_mask)"},
    "LastToken.by_ids": {"input_ids is None"},
    "LastEos.forward": {"input_ids is None"},
    "share": {"num_items_in_batch is None"},
    "LanguageHead.score": {"self.is_lean(lean_loss)", "labels is not None"},
    "refuse_smoothing": {"label_smoothing"},
    # the lean loss: what it is given, which gradients are asked for, and whether its numbers would be right
    "LanguageHead.lean_loss": {"obstacle is not None", "not 0.0 <= smoothing <= 1.0"},
    "lean_obstacle": {"stands"},
    "next_labels": {"shift_labels is None"},
    "scored_tokens": {"is_tracing(hidden_states)"},
    "WordHead.forward": {"labels is None"},
    "LinearCrossEntropy.forward": {
        "bias is None",
        "of_states is not None",
        "of_weight is not None",
        "of_bias is not None",
    },
    "zeros_if": {"needed"},
    "cross_entropy_": {"smoothing"},
    "ExpertBalance.request": {"labels is None"},
    "ExpertBalance.forward": {"labels is None", "not router_logits", "is_padding_mask(attention_mask)"},
}

# The one door, before a stack: whether it may run on real tokens alone, and how. Only here values, configuration and
# devices are read.
DOOR = {
    "find_real_tokens": {"may_open(given.frame, given.seen)", "way is None", "given.memory_frame is None"},
    "open_alone": {
        "given.attention_mask is None",
        "given.position_ids is not None",
        "given.seen is None",
        "given.seen is not None",
        "documents",
        "own is None",
        "not own.gains",
        "torch.is_grad_enabled()",
        "given.use_cache",
        "kept",
        "way is not one_by_one",
        "len(groups) > 1",
    },
    "open_pair": {
        "given.attention_mask is None",
        "given.position_ids is not None",
        "own is None",
        "source is None",
        "apart",
        "not (own.gains or source.gains)",
        "own.gains",
        "source.gains",
    },
    "find_sequences": {
        "attention_mask is None",
        "not is_padding_mask(attention_mask)",
        "attention_mask.shape != (rows, length)",
        "(beginnings != 1).any()",
    },
    "find_documents": {"position_ids is None", "(steps > 1).any()"},
    "find_way": {
        "is_flash_attention_requested(config)",
        "embeds.device.type == 'cpu'",
        "config._attn_implementation in ('sdpa', 'eager', BANDED, BLOCKS)",
        "own_kernel",
        "suits_varlen(config, embeds)",
    },
    "suits_varlen": {
        "not issubclass(POSITIONS[config.position_type], BiasPosition)",
        "not config.attention_dropout",
        "VARLEN is not None",
        "embeds.device.type == 'cuda'",
        "on_gpu",
        "half",
        "plain",
        "heads",
        "torch.cuda.get_device_capability(embeds.device) >= FLASH_CAPABILITY",
    },
    "dtype_of_products": {"torch.is_autocast_enabled(device)"},
    # and what follows from it
    "RealTokens.fill": {"cache is None"},
    "RealTokensWithMemory.fill": {"cache is None"},
    "corner": {"scores is None"},
    "VariableLengths.attend": {"is_causal is None", "sliding_window is None"},
    "may_open": {
        "is_tracing(embeds)",
        "_active_collector.get()",
        "cache is None",
        "not (cache.get_seq_length() or any(getattr(cache, 'is_updated', {}).values()))",
        "cache.get_seq_length()",
        "any(getattr(cache, 'is_updated', {}).values())",
    },
}


def functions_of_the_floor():
    """Qualified name -> syntax tree, for every function and method."""
    found = {}
    for file in FLOOR:
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


# called through a table or a stored choice, so that no body of a forward mentions them by name
BY_CHOICE = {
    "latest", "shared_norm", "own_norm", "forget", "recall", "as_they_are", "summing_to_one", "one_sided_bucket",
    "two_sided_bucket", "by_mask", "by_ids", "start_token", "wrap_last_non_pad", "refuse", "regression_loss",
    "single_label_loss", "multi_label_loss", "guessed_loss", "no_sinks", "own_sinks",
    "find_real_tokens", "as_it_came", "one_by_one", "flash_lengths", "variable_lengths", "attend", "unchanged",
    "no_rotation", "full_rotation", "read_all", "__call__", "next_labels", "own_labels", "add_product",
}  # fmt: skip
# built once, or run by the host outside forward
NOT_IN_FORWARD = {"__init__", "_apply", "_init_weights", "__getattr__"}


def reachable(functions):
    names = {"forward", *BY_CHOICE}
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
    asked = set()
    for node in ast.walk(tree):
        tests = []
        if isinstance(node, ast.If | ast.IfExp | ast.While | ast.Assert):
            tests = [node.test]
        elif isinstance(node, ast.comprehension):
            tests = node.ifs
        elif isinstance(node, ast.BoolOp):
            tests = [node]
        elif isinstance(node, ast.Try | ast.Match):
            asked.add(f"{type(node).__name__.lower()} in line {node.lineno}")
        asked |= {ast.unparse(part) for test in tests for part in parts(test)}
    return asked


def test_only_listed_questions_are_asked_on_the_way_of_a_forward():
    found = {name: questions(tree) for name, tree in reachable(functions_of_the_floor()).items()}
    asked = {name: tests for name, tests in found.items() if tests}
    listed = {**ALLOWED, **DOOR}
    new = {name: tests - listed.get(name, set()) for name, tests in asked.items()}
    new = {name: sorted(tests) for name, tests in new.items() if tests}
    assert not new, f"decide these in __init__, or list them if they ask whether an input is there: {new}"
    gone = {name: sorted(tests - asked.get(name, set())) for name, tests in listed.items()}
    gone = {name: tests for name, tests in gone.items() if tests}
    assert not gone, f"listed but no longer asked: {gone}"


def test_no_listed_question_is_about_configuration_shape_or_device():
    forbidden = ("config", "self.training", ".shape", ".device", ".dtype", "size(")
    for name, tests in ALLOWED.items():
        for test in tests:
            assert not any(word in test for word in forbidden), f"{name} asks {test}"


def test_the_walk_reaches_every_forward_and_the_helpers_behind_it():
    names = set(reachable(functions_of_the_floor()))
    assert {"TfmBlock.forward", "SelfAttention.heads", "remember", "alibi_slopes", "key_distance", "recall"} <= names
    assert "make_norm" not in names, "construction is not part of a forward"
