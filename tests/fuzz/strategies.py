"""The design space as Hypothesis strategies, derived from the fields of the configuration classes.

A field whose values are words or true and false gets them from its type, or from the registry that checks it. Numbers,
lists and dictionaries stand in `VALUES`; `values_of` raises TypeError for a field that has no values, so that a new
field is searched or says that it is not.
"""

import inspect
import math
from collections.abc import Collection
from dataclasses import Field, dataclass, fields
from functools import cache, partial
from operator import ne
from typing import Any, Literal, get_args, get_origin

from hypothesis import strategies as st
from transformers.activations import ACT2FN
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from hf_tfm.modeling.config_checks import LAYER_TYPES
from tests.fuzz.relations import make_compatible
from tests.grid import LANGUAGE_MODELS
from tests.grid import SIZES as GRID_SIZES

# every drawn configuration has these, where it draws no other
SIZES: dict[str, Any] = {**GRID_SIZES, "hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 24}
# fields that change what a block computes: on average half of them are drawn, and a few others
OFTEN = (
    "position_type", "residual_type", "norm_type", "mlp_type", "qk_norm", "depth_scaling", "num_key_value_heads",
    "sliding_window", "layer_types", "attn_logit_softcapping", "attention_sinks", "rope_parameters", "embedding_size",
    "embedding_norm", "num_attention_heads", "lm_head_type", "tie_word_embeddings", "decoder_layers",
    "decoder_hidden_size", "decoder_attention_heads", "logit_scale", "final_logit_softcapping", "lm_head_bias",
    "embedding_scale", "residual_scale", "attention_output_gate", "qk_norm_position", "value_residual",
    "query_temperature", "layer_scale_init_value", "width_scaling",
)  # fmt: skip
MAX_OTHER_FIELDS = 8
NOT_FINITE = (math.nan, math.inf, -math.inf)


@dataclass(frozen=True)
class Values:
    """`legal`: values to combine with all others. `odd`: values at the edge of what has a meaning, and impossible ones:
    they are refused by name, or everything holds."""

    legal: st.SearchStrategy[Any]
    odd: tuple[Any, ...] = ()


def choice(legal: Collection[Any], *odd: Any) -> Values:
    return Values(st.sampled_from(list(legal)), odd)


BOOLEAN = choice((False, True), "yes", 2, None)
DROPOUT = choice((0.0, 0.1, 0.5), 0, 1.0, -0.1, 1.5, "0.1", *NOT_FINITE)


def integers(*legal: int | None, odd: tuple[Any, ...] = ()) -> Values:
    return choice(legal, *odd, 0, -1, 1.5, "4", True)


def numbers(*legal: float | None, odd: tuple[Any, ...] = ()) -> Values:
    return choice(legal, *odd, 0, 0.0, -1.0, 1e-30, 1e30, "1.0", *NOT_FINITE)


# rope_type -> strategies of the parameters that it takes beside rope_theta and partial_rotary_factor. Keys that start
# with "?" may be absent.
FACTOR = st.sampled_from([1.0, 2.0, 3.5])
ROPE_PARAMETERS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "default": {},
    "linear": {"factor": FACTOR},
    "dynamic": {"factor": FACTOR},
    "yarn": {
        "factor": FACTOR,
        "original_max_position_embeddings": st.sampled_from([16, 32]),
        "?attention_factor": st.sampled_from([0.5, 1.5]),
        "?beta_fast": st.just(8.0),
        "?beta_slow": st.just(0.5),
        "?mscale": st.just(0.7),
        "?mscale_all_dim": st.just(0.9),
        "?truncate": st.booleans(),
    },
    "longrope": {
        "short_factor": st.just([1.0, 1.5, 2.0, 2.5]),  # cut or repeated by `make_compatible` to the size of a head
        "long_factor": st.just([3.0, 2.5, 4.0, 1.0]),
        "original_max_position_embeddings": st.sampled_from([4, 16, 32]),
        "?factor": FACTOR,
        "?attention_factor": st.just(1.2),
    },
    "llama3": {
        "factor": FACTOR,
        "low_freq_factor": st.sampled_from([1.0, 1.5]),
        "high_freq_factor": st.sampled_from([4.0, 8.0]),
        "original_max_position_embeddings": st.sampled_from([16, 256]),
    },
    "proportional": {"?factor": FACTOR},
}
MISSING_ROPE_TYPES = {"default", *ROPE_INIT_FUNCTIONS} ^ set(ROPE_PARAMETERS)


def rope_of(rope_type: str) -> st.SearchStrategy[dict[str, Any]]:
    parameters = ROPE_PARAMETERS[rope_type]
    required = {name: values for name, values in parameters.items() if not name.startswith("?")}
    optional = {name[1:]: values for name, values in parameters.items() if name.startswith("?")}
    optional |= {"rope_theta": st.sampled_from([100.0, 10000.0]), "partial_rotary_factor": st.sampled_from([0.5, 1.0])}
    return st.fixed_dictionaries({"rope_type": st.just(rope_type), **required}, optional=optional)


ROPE = st.sampled_from(list(ROPE_PARAMETERS)).flatmap(rope_of)
# each layer type has frequencies of its own, and three times in four rotates another share of a head
SHARES = st.sampled_from([(0.5, 1.0), (1.0, 0.5), (0.5, 1.0), (0.5, 0.5)])
NESTED_ROPE = st.tuples(ROPE, ROPE, SHARES).map(
    lambda drawn: {
        kind: {**rope, "partial_rotary_factor": share}
        for kind, rope, share in zip(LAYER_TYPES, drawn[:2], drawn[2], strict=True)
    }
)
ODD_ROPES: tuple[Any, ...] = (
    {},
    "default",
    {"rope_type": "no_such_type"},
    {"rope_type": None},
    {"rope_type": "default", "no_such_key": 1},
    {"rope_type": "linear"},
    {"rope_type": "linear", "factor": "2"},
    {"rope_type": "linear", "factor": 0.0},
    {"rope_type": "linear", "factor": -2.0},
    {"rope_type": "yarn", "factor": 2.0},
    {"rope_type": "dynamic", "factor": 2.0, "partial_rotary_factor": 0.5},
    {"rope_type": "proportional", "partial_rotary_factor": 0.1},
    {"rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0], "original_max_position_embeddings": 16},
    {"rope_type": "llama3", "factor": 2.0, "low_freq_factor": 4.0, "high_freq_factor": 4.0},
    {"full_attention": {"rope_type": "default"}},
    *({"rope_type": "default", "partial_rotary_factor": share} for share in (0.1, 1.5, -0.5, math.nan, "0.5")),
    *({"rope_type": "default", "rope_theta": theta} for theta in (0.0, -10.0, "10000", *NOT_FINITE)),
)
LAYER_LIST = st.lists(st.sampled_from(LAYER_TYPES), min_size=1, max_size=3)
FLAGS = st.lists(st.booleans(), min_size=1, max_size=3)
ODD_LISTS = ([], ["no_such_layer"], "full_attention", [None], [1], [True] * 9, ["full_attention"] * 9)
TOKEN = integers(None, 0, 1, 2, 5, odd=(10**6,))

# field -> values, for fields whose type does not tell them
VALUES: dict[str, Values] = {
    "vocab_size": integers(31, 53, 64, odd=(1, 2, 3)),
    "hidden_size": integers(12, 16, 24, odd=(1, 2, 3, 15)),
    "num_hidden_layers": integers(1, 2, 3),
    "num_attention_heads": integers(1, 2, 3, 4, odd=(5,)),
    "num_key_value_heads": integers(None, 1, 2, odd=(3, 8)),
    "head_dim": integers(None, 4, 6, 8, odd=(1, 2, 5)),
    "intermediate_size": integers(None, 12, 24, odd=(1, 2, 7)),
    "max_position_embeddings": integers(6, 16, 32, 64, odd=(1, 2)),
    "embedding_size": integers(None, 8, 16, 20, odd=(1, 2, 7)),
    "embedding_scale": numbers(1.0, 2.0, 4, 0.5),
    "position_offset": integers(1, 2),
    "rope_parameters": Values(st.one_of(ROPE, ROPE, NESTED_ROPE), ODD_ROPES),
    "rope_layers": Values(FLAGS, ODD_LISTS),
    "relative_attention_num_buckets": integers(4, 8, 32, odd=(1, 2, 3, 6)),
    "relative_attention_max_distance": integers(8, 20, 128, odd=(1, 2, 3, 4)),
    "attention_scale": numbers(None, 0.25, 1, 2.0),
    "query_temperature": numbers(None, 0.1, 2),
    "query_temperature_length": integers(None, 1, 4, 100),
    "attn_logit_softcapping": numbers(None, 2.0, 50.0),
    "sliding_window": integers(None, 1, 2, 4, 6, odd=(10**9,)),
    "layer_types": Values(LAYER_LIST, ODD_LISTS),
    "num_experts": integers(2, 3, 4, odd=(1,)),
    "num_experts_per_tok": integers(1, 2, 3, odd=(9,)),
    "moe_intermediate_size": integers(None, 8, 16, odd=(1, 6, 18)),
    "moe_layers": Values(FLAGS, ODD_LISTS),
    "shared_expert_intermediate_size": integers(None, 8, 12, odd=(1,)),
    "router_aux_loss_coef": numbers(0.01, 0.5),
    "residual_scale": numbers(1.0, 0.5, 2),
    "layer_scale_init_value": numbers(None, 0.1, 1),
    "mup_base_width": integers(4, 16, 32),
    "mup_base_head_dim": integers(None, 4, 8),
    "norm_eps": numbers(1e-6, 1e-5, 1e-3),
    "initializer_range": choice((0.02, 0.1), 0, 0.0, 1.0, -0.1, 2.0, "0.02", *NOT_FINITE),
    "logit_scale": numbers(1.0, 0.25, 2),
    "final_logit_softcapping": numbers(None, 5.0, 30.0),
    "z_loss_coef": numbers(0.0, 0.1),
    "classifier_dropout": choice((None, 0.0, 0.1), 0, 1.0, -0.1, 1.5, "0.1", *NOT_FINITE),
    "pad_token_id": TOKEN,
    "bos_token_id": TOKEN,
    "eos_token_id": Values(st.sampled_from([None, 2, 7, [2, 5]]), (-1, 10**6, [], [None], 1.5, "2")),
    "origin": choice((None, "llama"), 3),
    "hf_tfm_version": choice(("0.1.0", "99.0"), None, 1),
    "type_vocab_size": integers(0, 2, 3, odd=(1,)),
    "decoder_vocab_size": integers(None, 41, 53, odd=(1,)),
    "decoder_hidden_size": integers(None, 12, 16, 24, odd=(1, 15)),
    "decoder_layers": integers(None, 1, 3),
    "decoder_attention_heads": integers(None, 1, 2, 3, odd=(5,)),
    "decoder_num_key_value_heads": integers(None, 1, 2, odd=(3,)),
    "decoder_head_dim": integers(None, 4, 8, odd=(1, 5)),
    "decoder_intermediate_size": integers(None, 12, 20, odd=(1,)),
    "decoder_layer_types": Values(LAYER_LIST, ODD_LISTS),
    "decoder_embedding_scale": numbers(None, 1.0, 3.0),
    "decoder_start_token_id": TOKEN,
    # transformers' own fields: it checks them itself, or not at all
    "transformers_version": choice((None, "5.23.0")),
    "architectures": choice((None, ["NoSuchModel"])),
    "output_hidden_states": choice((False, True)),
    "return_dict": choice((True, False)),
    "dtype": choice((None, "float32", "bfloat16")),
    "chunk_size_feed_forward": choice((0,)),
    "problem_type": choice((None,)),
    "id2label": choice(({0: "no", 1: "yes"}, {0: "no"}, dict(enumerate(("no", "yes", "maybe"))))),
    "label2id": choice(({"no": 0, "yes": 1},)),
}

# field and value of faults that are known and not yet mended -> (other fields, property) that show it
OPEN_FAULTS: dict[tuple[str, Any], tuple[dict[str, Any], str]] = {}


# fields that mean something only together, which independent draws seldom bring; half of the configurations have one of
# these sets
TOGETHER: tuple[dict[str, st.SearchStrategy[Any]], ...] = (
    {},
    {},
    {"position_type": st.just("rotary"), "layer_types": st.permutations(LAYER_TYPES), "rope_parameters": NESTED_ROPE},
    {"mlp_type": st.just("moe"), "shared_expert_intermediate_size": st.sampled_from([8, 12])},
)


def values_of(config_class: type, field: Field) -> Values:
    """The values of a field. Raises TypeError for a field that neither its type nor `VALUES` tells."""
    if field.name in VALUES:
        return VALUES[field.name]
    if field.name == "is_encoder_decoder":
        return choice((field.default,), not field.default)
    if get_origin(field.type) is Literal:
        return choice(get_args(field.type), "no_such_value", 0, None)
    if field.type is bool:
        return BOOLEAN
    if field.name.endswith("_dropout"):
        return DROPOUT
    for validator in field.metadata.get("validator", ()):
        registry = inspect.getclosurevars(validator).nonlocals.get("registry")
        if registry is not None:
            return choice(registry, "no_such_value", 0, None)
        if validator.__name__ == "activation_fn_key":
            return choice(ACT2FN, "no_such_value", 0, None)
    raise TypeError(f"{config_class.__name__}.{field.name} has no values to search: add them to VALUES in {__file__}.")


@cache
def design_space(architecture: str) -> dict[str, Values]:
    """Field -> values, of all fields of the architecture's configuration class, without those of `OPEN_FAULTS`."""
    config_class = LANGUAGE_MODELS[architecture][0]
    space = {field.name: values_of(config_class, field) for field in fields(config_class)}
    for name, value in OPEN_FAULTS:
        space[name] = Values(space[name].legal.filter(partial(ne, value)), space[name].odd)
    return space


def some_of(names: list[str], most: int) -> st.SearchStrategy[list[str]]:
    """0 to `most` of the names, every number as likely; `lists` by itself draws few."""
    return st.integers(0, most).flatmap(
        lambda count: st.lists(st.sampled_from(names), unique=True, min_size=count, max_size=count)
    )


@st.composite
def legal_fields(draw: Any, architecture: str) -> dict[str, Any]:
    """The fields of a configuration that ought to be accepted: a few drawn from all, perhaps a set of `TOGETHER`, those
    dropped or adjusted that have no meaning beside the others."""
    space = design_space(architecture)
    together = {name: draw(values) for name, values in draw(st.sampled_from(TOGETHER)).items()}
    often = [name for name in OFTEN if name in space]
    rest = [name for name in space if name not in OFTEN]
    names = [*draw(some_of(often, len(often))), *draw(some_of(rest, MAX_OTHER_FIELDS))]
    drawn = {name: draw(space[name].legal) for name in names}
    drawn |= together
    return make_compatible(architecture, {**SIZES, **drawn})


@st.composite
def odd_fields(draw: Any, architecture: str) -> dict[str, Any]:
    """The same with one or two fields at the edge of what has a meaning, or beyond it."""
    given = draw(legal_fields(architecture))
    space = {name: values for name, values in design_space(architecture).items() if values.odd}
    for name in draw(st.lists(st.sampled_from(list(space)), unique=True, min_size=1, max_size=2)):
        given[name] = draw(st.sampled_from(space[name].odd))
    return given


def any_fields(architecture: str) -> st.SearchStrategy[tuple[dict[str, Any], bool]]:
    """Fields, and whether they ought to be legal: two such configurations for each odd one."""
    kinds = {True: legal_fields(architecture), False: odd_fields(architecture)}
    return st.sampled_from((True, True, False)).flatmap(lambda legal: st.tuples(kinds[legal], st.just(legal)))
