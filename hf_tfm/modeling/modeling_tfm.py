"""TfmPreTrainedModel: what every model supports, refuses, records, initialises and saves."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.models.auto import modeling_auto
from transformers.utils import logging
from transformers.utils.output_capturing import OutputRecorder

from .activations import ACTIVATIONS, reset_activation
from .attention import SelfAttention
from .auto_map import is_built_in
from .block import TfmBlock
from .blockwise_attention import EAGER_BLOCKWISE, register_blockwise_attention
from .configuration_tfm import TfmConfig
from .distributed_checks import check_splits
from .feed_forward import EXPERT_ALIGNMENT, TfmRouter, misaligned_expert_widths
from .position import POSITIONS, BiasPosition
from .sliding_window_attention import register_sliding_window_attention
from .width_scaling import learning_rate_factors, make_width_scaling

logger = logging.get_logger(__name__)
register_sliding_window_attention()
register_blockwise_attention()

# what transformers records on request, and from which module's output
RECORDED: dict[str, Any] = {
    "hidden_states": TfmBlock,
    "attentions": OutputRecorder(SelfAttention, index=1),
    "router_logits": OutputRecorder(TfmRouter, index=0),
}

# Attention implementations known to support what a configuration may ask of the kernel.
SUPPORT_POSITION_BIAS = ("eager", EAGER_BLOCKWISE, "sdpa", "flex_attention")
SUPPORT_SOFTCAP = ("eager", EAGER_BLOCKWISE, "flex_attention", "flash_attention_2", "flash_attention_3")
SUPPORT_SINKS = ("eager", EAGER_BLOCKWISE, "paged|eager", "flex_attention", "kernels-community/vllm-flash-attn3")


def special_score_features(config: TfmConfig) -> dict[str, tuple[str, ...]]:
    """What the configuration asks of the attention kernel beyond the ordinary, and which implementations support it."""
    features = {}
    if has_score_bias(config):
        features[f'position_type="{config.position_type}", a score bias'] = SUPPORT_POSITION_BIAS
    if config.attn_logit_softcapping is not None:
        features[f"attn_logit_softcapping={config.attn_logit_softcapping}"] = SUPPORT_SOFTCAP
    if config.attention_sinks:
        features["attention_sinks=True"] = SUPPORT_SINKS
    return features


def has_score_bias(config: TfmConfig) -> bool:
    return issubclass(POSITIONS[config.position_type], BiasPosition)


class TfmPreTrainedModel(PreTrainedModel):
    """Base of all models."""

    config: TfmConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["TfmBlock"]
    _skip_keys_device_placement = ["past_key_values"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _supports_context_parallel = False
    _can_compile_fullgraph = True
    _can_record_outputs = RECORDED
    # every Auto class of the architecture, written into each checkpoint whatever head was saved
    _auto_map: dict[str, str] = {}

    def __init__(self, config: TfmConfig, *args: Any, **kwargs: Any) -> None:
        # fields may have changed since they were checked
        config.validate()  # pyright: ignore[reportAttributeAccessIssue]
        super().__init__(config, *args, **kwargs)
        # in the cards that transformers writes
        self.add_model_tags("hf_tfm")

    def post_init(self) -> None:
        make_width_scaling(self.config).scale_weights(self)
        super().post_init()

    def learning_rate_factors(self) -> dict[str, float]:
        """Every parameter name -> what Adam's learning rate is to be multiplied by, 1.0 without `width_scaling`.

        With decoupled weight decay, which is multiplied by the rate, divide the decay by the factor, so that their
        product stays as it is: groups of torch.optim.AdamW are
        {"params": [parameter], "lr": rate * factor, "weight_decay": decay / factor}."""
        return dict.fromkeys((name for name, _ in self.named_parameters()), 1.0) | learning_rate_factors(self)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # a derived head is a head: Trainer looks class names up, and does not shift the labels of unknown ones
        if cls._auto_class is not None:
            getattr(modeling_auto, NAME_TABLES[cls._auto_class]).setdefault(cls.__name__, cls.__name__)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Initialises linear maps, embeddings and norms as transformers does, with the standard deviation that depth
        scaling sets, activations as their constructor does, and every other module by its own `reset_parameters`.
        Raises TypeError for a module whose parameters nothing initialises: loaded from a checkpoint without them, they
        would hold garbage."""
        super()._init_weights(module)
        reset = getattr(type(module), "reset_parameters", None)
        if isinstance(module, nn.Linear) and hasattr(module, "init_std"):
            std: Any = module.init_std
            init.normal_(module.weight, mean=0.0, std=std)
        if is_initialised_by_transformers(module):
            return
        if type(module) in ACTIVATIONS:
            reset_activation(module)
            return
        parameters = module.named_parameters(recurse=False)
        missing = [name for name, parameter in parameters if not hasattr(parameter, "_is_hf_initialized")]
        if missing and reset is None:
            raise TypeError(
                f"{type(module).__name__} has parameters that nothing initialises ({', '.join(missing)}); define "
                "reset_parameters(self) with the functions of transformers.initialization."
            )
        if missing:
            module.reset_parameters()  # pyright: ignore[reportCallIssue]

    def _check_and_adjust_attn_implementation(
        self, attn_implementation: str | None, is_init_check: bool = False, allow_all_kernels: bool = False
    ) -> str:
        # Every name passes here, Hub kernels and serving engines included, so no forward has to check anything.
        chosen = self.choose_attention(attn_implementation)
        return super()._check_and_adjust_attn_implementation(chosen, is_init_check, allow_all_kernels)

    def choose_attention(self, requested: str | None) -> str | None:
        """The requested implementation, or by default one that supports what is configured. Raises ValueError naming
        the field that the requested one would silently drop."""
        for feature, supporting in special_score_features(self.config).items():
            if requested is None and "sdpa" not in supporting:
                requested = "eager"
            if requested is not None and requested not in supporting:
                raise ValueError(
                    f'Specified `attn_implementation="{requested}"` is not supported: it is not known to support '
                    f"{feature}, and would give wrong numbers. Load with attn_implementation set to one of: "
                    f"{', '.join(supporting)}."
                )
        return requested

    @property
    def supports_context_parallel(self) -> bool:
        # with the sequence spread over processes transformers has full causal attention without mask or bias only
        return super().supports_context_parallel and not special_score_features(self.config)

    def _set_gradient_checkpointing(
        self, enable: bool = True, gradient_checkpointing_func: Any = checkpoint, **kwargs: Any
    ) -> None:
        # Reentrant checkpointing runs blocks without a graph, so what they hand on beside hidden states (router
        # logits that are recorded, the first layer's values) would carry no gradient.
        hands_on = self.config.mlp_type == "moe" or self.config.value_residual
        options = getattr(gradient_checkpointing_func, "keywords", {})
        if hands_on and options.get("use_reentrant", False):
            logger.warning_once(
                "Experts and value residuals are checkpointed with use_reentrant=False, so that the load-balancing "
                "loss and the first layer's values train."
            )
            gradient_checkpointing_func = partial(gradient_checkpointing_func, use_reentrant=False)
        super()._set_gradient_checkpointing(enable, gradient_checkpointing_func, **kwargs)

    @classmethod
    def maybe_distribute_model(cls, model: Any, distributed_config: Any, mesh_manager: Any) -> Any:
        """As in transformers. Raises ValueError for what it would split wrongly; see `check_splits`."""
        if mesh_manager is not None:
            check_splits(model, distributed_config)
        return super().maybe_distribute_model(model, distributed_config, mesh_manager)

    @classmethod
    def _can_set_experts_implementation(cls) -> bool:
        # transformers looks for the decorator in the model's own file; ours is in feed_forward.py
        return True

    def _grouped_mm_can_dispatch(self) -> bool:
        # asked by transformers, which takes "eager" by default where this raises
        if self.config.mlp_type == "moe":
            self.check_grouped_mm()
        return super()._grouped_mm_can_dispatch()

    def check_grouped_mm(self) -> None:
        """Raises ValueError for experts that torch's grouped product does not take."""
        dtypes = {parameter.dtype for parameter in self.parameters()} or {torch.get_default_dtype()}
        if torch.float64 in dtypes:
            raise ValueError(
                'experts_implementation="grouped_mm" does not take weights in float64. Use "eager" or "batched_mm".'
            )
        misaligned = misaligned_expert_widths(self.config)
        if misaligned:
            raise ValueError(
                f'experts_implementation="grouped_mm" reads rows of 16 bytes or multiples of it, so widths of experts '
                f'must be multiples of {EXPERT_ALIGNMENT}; got {misaligned}. Use "eager" or "batched_mm".'
            )

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> None:
        """As in transformers, with the code of the architecture and all its Auto classes, whatever head is saved. A
        head that was defined in another file is saved with that file, as AutoModel where it names no Auto class."""
        kind = type(self)
        head = next(cls for cls in kind.__mro__ if not cls.__module__.startswith("torch."))
        # FSDP2 makes a class on the fly, and transformers would save the file that made it
        kind.__module__, kind.__name__ = head.__module__, head.__name__
        if not is_built_in(head) and not self.is_remote_code():
            kind.register_for_auto_class("AutoModel")
        self.config.auto_map = dict(self._auto_map) if is_built_in(head) and self.is_remote_code() else {}
        super().save_pretrained(save_directory, *args, **kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """As in transformers, but an Auto class opens what the head that wrote the checkpoint names, since two models
        may share one (AutoModel: text embeddings). Raises ValueError for a head that is not one of hf_tfm's: the
        registered class would drop weights."""
        config = kwargs.get("config")
        written_by = (getattr(config, "architectures", None) or [cls.__name__])[0]
        writer = next((head for head in subclasses(TfmPreTrainedModel) if head.__name__ == written_by), None)
        # only Auto classes pass adapter_kwargs
        if "adapter_kwargs" not in kwargs or writer is cls or not is_built_in(cls):
            return super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        if writer is not None and is_built_in(writer):
            name = writer._auto_map.get(cls._auto_class, "").rpartition(".")[2]
            named = next((head for head in subclasses(TfmPreTrainedModel) if head.__name__ == name), cls)
            opened: Any = super() if named is cls else named
            return opened.from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        raise ValueError(
            f"{pretrained_model_name_or_path} was written by {written_by}, which is not part of hf_tfm: open it "
            f"with {written_by}.from_pretrained, or its weights alone with {cls.__name__}.from_pretrained."
        )


def subclasses(kind: Any) -> Iterator[Any]:
    """All subclasses of a class, the built-in ones first."""
    for subclass in kind.__subclasses__():
        yield subclass
        yield from subclasses(subclass)


def is_initialised_by_transformers(module: nn.Module) -> bool:
    """Whether `PreTrainedModel._init_weights` knows the module, by its class or by its name."""
    known = (
        nn.Linear,
        nn.Embedding,
        nn.MultiheadAttention,
        nn.LSTM,
        nn.GroupNorm,
        nn.modules.batchnorm._BatchNorm,
        nn.modules.conv._ConvNd,
    )
    return isinstance(module, known) or any(norm in type(module).__name__ for norm in ("LayerNorm", "RMSNorm"))


def register_with_transformers(model_type: str, heads: dict[str, type[TfmPreTrainedModel]]) -> None:
    """Enter the heads where transformers looks for them: by Auto class for saving, by class name in the tables that
    Trainer's label smoothing and the model cards read. `heads`: Auto class -> head."""
    for auto_class, head in heads.items():
        head.register_for_auto_class(auto_class)
        table = getattr(modeling_auto, NAME_TABLES[auto_class])
        table.setdefault(model_type, head.__name__)


NAME_TABLES = {
    "AutoModel": "MODEL_MAPPING_NAMES",
    "AutoModelForPreTraining": "MODEL_FOR_PRETRAINING_MAPPING_NAMES",
    "AutoModelForCausalLM": "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "AutoModelForMaskedLM": "MODEL_FOR_MASKED_LM_MAPPING_NAMES",
    "AutoModelForSeq2SeqLM": "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
    "AutoModelForSequenceClassification": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
    "AutoModelForTokenClassification": "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES",
    "AutoModelForQuestionAnswering": "MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES",
    "AutoModelForMultipleChoice": "MODEL_FOR_MULTIPLE_CHOICE_MAPPING_NAMES",
    "AutoModelForTextEncoding": "MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES",
}
