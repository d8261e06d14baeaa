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
from transformers.modeling_rope_utils import RopeParameters
from transformers.utils.type_validators import activation_fn_key

from .block import WIRINGS
from .conditional_fields import ConditionalFields, only_with
from .config_checks import (
    LAYER_TYPES,
    check_entries,
    check_experts,
    check_seq2seq,
    check_stack,
    check_wiring,
    head_size,
    repeat_layer_types,
)
from .decoder_inputs import DECODER_SHIFTS
from .decoder_view import DecoderView
from .depth_scaling import DEPTH_SCALINGS
from .feed_forward import FEED_FORWARDS
from .field_names import NORM_EPS_NAMES, FieldNames
from .field_values import (
    MAX_FACTOR,
    MAX_LAYERS,
    MAX_ROWS,
    between,
    check_num_labels,
    dropout,
    floating_dtype,
    one_of,
    rope_dictionary,
    scale,
    size,
    token_id,
)
from .head_parts import POOLINGS
from .normalization import NORMS, QK_NORMS
from .outputs import BESIDE_PREDICTIONS
from .parallel_plans import PipelinePlans, Seq2SeqPlans, StackPlans
from .peft_targets import PeftTargets
from .position import POSITIONS
from .recipes import recipe_fields

VERSION = "0.1.0"
# transformers copies these before it imports this file; it follows no imports of files already there
NEEDED_BESIDES = """
    from .activations import
    from .attention import
    from .auto_map import
    from .caches import
    from .fused_linear_cross_entropy import
    from .loss import
    from .masks import
    from .rotary_embedding import"""


class TfmConfig(ConditionalFields, FieldNames, PeftTargets, PreTrainedConfig):
    """What encoder, decoder and encoder-decoder share. Sizes count elements, probabilities lie in [0, 1].

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

    # Word embeddings
    # None: hidden_size; otherwise tables of this width and a projection (ELECTRA)
    embedding_size: int | None = size(None)
    embedding_scale: float | int = scale(1.0)  # multiplies word vectors; given `inputs_embeds` count as scaled
    embedding_norm: Literal["none", "before_positions", "after_positions"] = "none"
    embedding_dropout: float | int = dropout(default=0.0)

    # Positions
    position_type: str = one_of(POSITIONS, default="rotary")
    # added to every position before the table or formula (OPT and BART 2, RoBERTa pad + 1)
    position_offset: int = only_with(between(0, MAX_ROWS, 0), position_type=("learned", "sinusoidal"))
    # exponent k / (d/2) (Marian) or k / (d/2 - 1) (M2M-100)
    sinusoid_type: Literal["half", "half_minus_one"] = only_with("half", position_type="sinusoidal")
    # as in transformers, or one such dictionary per layer type
    rope_parameters: RopeParameters | dict | None = only_with(rope_dictionary(default=None), position_type="rotary")
    rope_layers: list[bool] | None = only_with(None, position_type="rotary")  # layers that rotate; None: all (SmolLM3)
    # T5; tokens farther than the distance share the last bucket
    relative_attention_num_buckets: int = only_with(size(32), position_type="relative_bias")
    relative_attention_max_distance: int = only_with(size(128, MAX_ROWS), position_type="relative_bias")

    # Attention
    qkv_bias: bool = False
    out_bias: bool = False
    # norm of queries and keys: per head with one weight, with a weight per head, or over the whole projected width
    qk_norm: str = one_of(QK_NORMS, default="none")
    attention_scale: float | int | None = scale(None)  # multiplies q.k; None: head_dim ** -0.5
    attn_logit_softcapping: float | int | None = scale(None)  # c: scores become c tanh(score / c) (Gemma-2)
    attention_sinks: bool = False  # one learned extra logit per head in the softmax (gpt-oss)
    # tokens; causal: W keys, the query included; bidirectional: |i - j| <= W
    sliding_window: int | None = size(None, MAX_ROWS)
    # "full_attention" or "sliding_attention" for each layer; None: all sliding if sliding_window is set, else all full
    layer_types: list[str] | None = None
    attention_dropout: float | int = dropout(default=0.0)

    # Position-wise feed-forward
    mlp_type: str = one_of(FEED_FORWARDS, default="gated")
    hidden_act: str = activation_fn_key(default="silu")
    mlp_bias: bool = False
    activation_dropout: float | int = dropout(default=0.0)  # after the activation, inside the feed-forward
    num_experts: int = only_with(size(8), mlp_type="moe")
    num_experts_per_tok: int = only_with(size(2), mlp_type="moe")
    # whether the chosen experts' probabilities are divided by their sum
    norm_topk_prob: bool = only_with(True, mlp_type="moe")
    moe_intermediate_size: int | None = only_with(size(None), mlp_type="moe")  # None: intermediate_size
    moe_layers: list[bool] | None = only_with(None, mlp_type="moe")  # which layers hold experts; None: all
    shared_expert_intermediate_size: int | None = only_with(size(None), mlp_type="moe")  # None: no shared expert
    # weight of the load-balancing loss beside the language-model loss
    router_aux_loss_coef: float | int = only_with(between(0, MAX_FACTOR, 0.01), mlp_type="moe")
    # record router logits without labels too (with labels they always are)
    output_router_logits: bool = only_with(False, mlp_type="moe")

    # Residual wiring and norms
    residual_type: str = one_of(WIRINGS, default="pre")
    residual_scale: float | int = scale(1.0)  # multiplies every branch before it is added (Granite)
    norm_type: str = one_of(NORMS, default="rms_norm")
    norm_eps: float | int = between(0, 1, default=1e-6, above=True)
    norm_bias: bool = True  # layer norms only; RMS norms have none
    first_layer_norm: bool = True  # False: the first block's attention reads its input as it is (ModernBERT)
    hidden_dropout: float | int = dropout(default=0.0)  # on every branch, before it is added
    # none; scaled: output projections start 1/sqrt(2 L) smaller (GPT-2); deepnorm: alpha and beta of Wang et al. 2022
    depth_scaling: str = one_of(DEPTH_SCALINGS, default="none")
    initializer_range: float | int = between(0, 1, default=0.02, above=True)  # standard deviation

    # Heads
    lm_head_type: Literal["linear", "transform"] = "linear"  # transform: dense, activation, norm before the vocabulary
    lm_head_act: str = activation_fn_key(default="gelu")
    lm_head_bias: bool = False
    logit_scale: float | int = scale(1.0)  # multiplies the logits
    final_logit_softcapping: float | int | None = scale(None)
    pooling: str = one_of(POOLINGS, default="first")  # which token(s) a sequence's vector comes from
    # dense layer + activation on a classifier's pooled vector; also on its tokens (ModernBERT), or in text embeddings
    classifier_dense: Literal["none", "pooled", "all", "embedding"] = "none"
    classifier_act: str = activation_fn_key(default="tanh")
    classifier_norm: bool = False  # a norm after that activation
    head_dense_bias: bool = True  # bias of the dense layers of both heads
    classifier_bias: bool = True
    classifier_dropout: float | int | None = dropout(default=None)  # None: hidden_dropout

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
