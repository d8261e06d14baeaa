"""The design space: every choice is one field, checked where the configuration is made.

`TfmConfig` holds what the three architectures share and is registered nowhere; `TfmEncoderConfig`, `TfmDecoderConfig`
and `TfmSeq2SeqConfig` are what users build. A field enters only if a published family needs it, it cannot be folded
into the weights, and it is not another value of an existing choice."""

import transformers

MINIMUM_TRANSFORMERS = "5.23"  # major.minor


def check_version(found: str) -> None:
    """ImportError, in one line, if `found`, a version of transformers, is older than MINIMUM_TRANSFORMERS."""
    needed = [int(number) for number in MINIMUM_TRANSFORMERS.split(".")]
    if [int(number) for number in found.split(".")[:2]] < needed:
        raise ImportError(
            f"This model's code needs transformers {MINIMUM_TRANSFORMERS} or newer, and {found} is installed: "
            "pip install --upgrade transformers"
        )


# before any other import: an older version would fail on a name that tells the reader nothing
check_version(transformers.__version__)

from typing import Any, ClassVar, Literal

import torch
from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from .attention_fields import AttentionFields
from .conditional_fields import ConditionalFields
from .config_checks import (
    LAYER_TYPES,
    check_entries,
    check_experts,
    check_seq2seq,
    check_stack,
    check_width,
    check_wiring,
    head_size,
    repeat_layer_types,
)
from .decoder_inputs import DECODER_SHIFTS
from .decoder_view import DecoderView
from .embedding_fields import EmbeddingFields
from .feed_forward_fields import FeedForwardFields
from .field_names import NORM_EPS_NAMES, FieldNames
from .field_values import (
    MAX_LAYERS,
    MAX_ROWS,
    between,
    check_num_labels,
    floating_dtype,
    one_of,
    scale,
    size,
    token_id,
)
from .head_fields import HeadFields
from .outputs import BESIDE_PREDICTIONS
from .parallel_plans import PipelinePlans, Seq2SeqPlans, StackPlans
from .peft_targets import PeftTargets
from .pooling import POOLINGS
from .position_fields import PositionFields
from .recipes import recipe_fields
from .residual_fields import ResidualFields

VERSION = "0.1.0"
# transformers copies these before it imports this file; it follows no imports of files already there
NEEDED_BESIDES = """
    from .activations import
    from .attention import
    from .auto_map import
    from .block import
    from .caches import
    from .depth_scaling import
    from .feed_forward import
    from .loss import
    from .masks import
    from .normalization import
    from .position import
    from .rotary_embedding import
    from .value_residual import
    from .width_scaling import"""


class TfmConfig(
    ConditionalFields,
    FieldNames,
    PeftTargets,
    EmbeddingFields,
    PositionFields,
    AttentionFields,
    FeedForwardFields,
    ResidualFields,
    HeadFields,
    PreTrainedConfig,
):
    """What encoder, decoder and encoder-decoder share. Sizes count elements, probabilities lie in [0, 1]. Here stand
    sizes, speed and identities; the fields of each subject are a mixin in a file of its own, `attention_fields.py` say.

    On construction an unknown field, or one of a feature that is not chosen, is a ValueError; a wrong type or value, or
    an impossible relation between fields, is a StrictDataclassError. They name field, value, and what is allowed."""

    keys_to_ignore_at_inference = list(BESIDE_PREDICTIONS)
    _rope_type_labels = LAYER_TYPES
    attribute_map = dict.fromkeys(NORM_EPS_NAMES, "norm_eps")

    # Sizes
    vocab_size: int = size(32000, MAX_ROWS)
    hidden_size: int = size(512)
    num_hidden_layers: int = size(6, MAX_LAYERS)
    num_attention_heads: int = size(8)
    # None: as many as num_attention_heads (multi-head); fewer is grouped-query, 1 multi-query attention
    num_key_value_heads: int | None = size(None)
    head_dim: int | None = size(None)  # None: hidden_size / num_attention_heads
    # None: 4 x hidden_size (plain), 8/3 x hidden_size rounded up to a multiple of 64 (gated and experts)
    intermediate_size: int | None = size(None)
    # longest sequence; rows of a learned table, reference length of scaled rotary
    max_position_embeddings: int = size(2048, MAX_ROWS)

    # Speed, at equal numbers
    padding_free: bool = True  # where a mask or packed position ids allow it, blocks compute on real tokens only
    # language heads given labels return the loss without logits; see `fused_linear_cross_entropy.py`
    fused_loss: bool = False

    # Identities
    tie_word_embeddings: bool = True
    pad_token_id: int | None = token_id()
    bos_token_id: int | None = token_id()
    eos_token_id: int | list[int] | None = token_id()
    origin: str | None = None  # the native family a checkpoint came from; free text
    hf_tfm_version: str = VERSION  # of the code that wrote the file

    # Fields of every model of transformers, whose own types are text and not checked
    architectures: list[str] | None = None
    transformers_version: str | None = None
    dtype: str | torch.dtype | None = floating_dtype(default=None)
    return_dict: bool | None = True
    output_hidden_states: bool | None = False
    id2label: dict | None = None
    label2id: dict | None = None
    problem_type: Literal["regression", "single_label_classification", "multi_label_classification"] | None = None
    chunk_size_feed_forward: int = between(0, MAX_ROWS, default=0)  # changes nothing: blocks are not chunked
    is_encoder_decoder: bool = one_of((False,), default=False)

    causal: ClassVar[bool] = False  # whether the stack with plain names is

    def __post_init__(self, **kwargs: Any) -> None:
        # only what was saved or copied holds a version of transformers
        self.check_keywords(kwargs, is_written=self.transformers_version is not None)
        if self.absence("rope_parameters"):
            older = {name: kwargs.pop(name, None) for name in ("rope_theta", "rope_scaling", "partial_rotary_factor")}
            self.rope_parameters = self.rope_parameters or {name: value for name, value in older.items() if value}
        self.drop_absent_fields()
        super().__post_init__(**kwargs)

    @classmethod
    def recipe(cls, name: str, **overrides: Any) -> Any:
        """The configuration of a published family, with `overrides` (any field) on top; see `recipes.py`.
        Raises ValueError if there is no such recipe for this architecture."""
        # the fields of a recipe are computed from the sizes, so those are checked before
        checked = object.__new__(cls)
        for field, value in overrides.items():
            setattr(checked, field, value)
        return cls(**recipe_fields(name, cls.model_type, overrides))

    def resolve_defaults(self) -> None:
        """Fill every None that stands for a value derived from other fields."""
        if self.head_dim is None:
            self.head_dim = head_size(self.hidden_size, self.num_attention_heads)
        if self.num_key_value_heads is None:
            self.num_key_value_heads = self.num_attention_heads
        if self.intermediate_size is None:
            gated = -(-8 * self.hidden_size // (3 * 64)) * 64
            self.intermediate_size = 4 * self.hidden_size if self.mlp_type == "plain" else gated
        if vars(self).get("moe_intermediate_size", 0) is None:
            self.moe_intermediate_size = self.intermediate_size
        if self.embedding_size is None:
            self.embedding_size = self.hidden_size
        if self.classifier_dropout is None:
            self.classifier_dropout = self.hidden_dropout
        if self.layer_types is None:
            self.layer_types = [LAYER_TYPES[self.sliding_window is not None]] * self.num_hidden_layers

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "num_labels":
            check_num_labels(value)
        super().__setattr__(name, value)

    def validate_layer_type(self) -> None:
        check_entries(self)
        check_stack(self, "", self.causal)

    def validate_choices(self) -> None:
        check_experts(self)
        check_wiring(self)
        check_width(self)


@strict
class TfmEncoderConfig(StackPlans, TfmConfig):
    """A bidirectional encoder (BERT's architecture). `add_pooling_layer`: AutoModel's model returns pooler_output."""

    model_type = "tfm_encoder"

    type_vocab_size: int = between(0, MAX_ROWS, default=0)  # rows of the token-type table; 0: none
    add_pooling_layer: bool = False


@strict
class TfmDecoderConfig(PipelinePlans, TfmConfig):
    """A causal decoder (GPT's and Llama's architecture)."""

    model_type = "tfm_decoder"
    causal: ClassVar[bool] = True

    use_cache: bool = True
    pooling: str = one_of(POOLINGS, default="last_token")


@strict
class TfmSeq2SeqConfig(Seq2SeqPlans, TfmConfig):
    """An encoder-decoder (the original Transformer, T5, BART). Plain names are the encoder's; `decoder_<name>` defaults
    to them. The cross-attention has the decoder's heads and the wiring and biases of its self-attention."""

    model_type = "tfm_seq2seq"

    is_encoder_decoder: bool = one_of((True,), default=True)
    use_cache: bool = True
    pooling: str = one_of(POOLINGS, default="last_token")  # of the decoder's states, by input ids
    decoder_vocab_size: int | None = size(None, MAX_ROWS)
    decoder_hidden_size: int | None = size(None)
    decoder_layers: int | None = size(None, MAX_LAYERS)
    decoder_attention_heads: int | None = size(None)
    decoder_num_key_value_heads: int | None = size(None)
    decoder_head_dim: int | None = size(None)
    decoder_intermediate_size: int | None = size(None)
    decoder_layer_types: list[str] | None = None
    decoder_embedding_scale: float | int | None = scale(None)
    decoder_start_token_id: int | None = token_id()  # None: bos_token_id, else pad_token_id
    # how labels become decoder inputs: the start token in front, or the last real token moved to the front (mBART)
    decoder_shift: str = one_of(DECODER_SHIFTS, default="start_token")
    tie_encoder_decoder_embeddings: bool = True

    def resolve_defaults(self) -> None:
        super().resolve_defaults()
        width = self.decoder_hidden_size or self.hidden_size
        heads = self.decoder_attention_heads or self.num_attention_heads
        layers = self.decoder_layers or self.num_hidden_layers
        multi_head = self.num_key_value_heads == self.num_attention_heads
        ordinary = self.head_dim == self.hidden_size // self.num_attention_heads
        head_dim = self.decoder_head_dim or (head_size(width, heads, "decoder_") if ordinary else self.head_dim)
        derived = {
            "decoder_vocab_size": self.vocab_size,
            "decoder_hidden_size": width,
            "decoder_layers": layers,
            "decoder_attention_heads": heads,
            "decoder_num_key_value_heads": heads if multi_head else self.num_key_value_heads,
            "decoder_head_dim": head_dim,
            "decoder_intermediate_size": self.intermediate_size,
            "decoder_embedding_scale": self.embedding_scale,
            "decoder_layer_types": self.decoder_layer_types or repeat_layer_types(self.layer_types or [], layers),
            "decoder_start_token_id": self.pad_token_id if self.bos_token_id is None else self.bos_token_id,
        }
        for name, value in derived.items():
            if getattr(self, name) is None:
                setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        # one table has one vocabulary, also where transformers changes its size later on
        if name == "vocab_size" and self.tie_encoder_decoder_embeddings and self.decoder_vocab_size is not None:
            self.decoder_vocab_size = value

    @property
    def decoder_view(self) -> "DecoderView":
        """This configuration as the decoder sees it: plain names are the decoder's."""
        return DecoderView(self)

    @property
    def decoder_embedding_size(self) -> int | None:
        return self.decoder_hidden_size if self.embedding_size == self.hidden_size else self.embedding_size

    def validate_seq2seq(self) -> None:
        check_stack(self.decoder_view, "decoder_", is_causal=True)
        check_seq2seq(self)
