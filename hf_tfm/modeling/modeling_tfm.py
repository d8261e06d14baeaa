"""TfmPreTrainedModel: what every model of the family supports, refuses, records, initialises and saves."""

from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.dynamic_module_utils import get_class_from_dynamic_module
from transformers.models.auto import modeling_auto
from transformers.utils import logging
from transformers.utils.output_capturing import OutputRecorder

from .attention import Attention, SelfAttention
from .banded import register_banded_attention
from .block import TfmBlock
from .blocks import BLOCKS, register_blocked_attention
from .configuration_tfm import TfmConfig
from .feed_forward import TfmExperts, TfmRouter
from .normalization import PerHeadNorm
from .parallel import check_splits
from .position import POSITIONS, BiasPosition

logger = logging.get_logger(__name__)
register_banded_attention()
register_blocked_attention()

# what the host records where it is asked to, and from which module's output
RECORDED: dict[str, Any] = {
    "hidden_states": TfmBlock,
    "attentions": OutputRecorder(SelfAttention, index=1),
    "router_logits": OutputRecorder(TfmRouter, index=0),
}

# What a configuration may ask of the attention kernel, and the implementations known to carry it.
POSITION_BIAS_CARRIERS = ("eager", BLOCKS, "sdpa", "flex_attention")
SOFTCAP_CARRIERS = ("eager", BLOCKS, "flex_attention", "flash_attention_2", "flash_attention_3")
SINK_CARRIERS = ("eager", BLOCKS, "paged|eager", "flex_attention", "kernels-community/vllm-flash-attn3")


def special_scores(config: TfmConfig) -> dict[str, tuple[str, ...]]:
    """What the configuration asks of the attention kernel beyond the ordinary, and who carries it."""
    needs = {
        f'position_type="{config.position_type}", a score bias': (
            issubclass(POSITIONS[config.position_type], BiasPosition),
            POSITION_BIAS_CARRIERS,
        ),
        f"attn_logit_softcapping={config.attn_logit_softcapping}": (
            config.attn_logit_softcapping is not None,
            SOFTCAP_CARRIERS,
        ),
        "attention_sinks=True": (config.attention_sinks, SINK_CARRIERS),
    }
    return {need: carriers for need, (wanted, carriers) in needs.items() if wanted}


class TfmPreTrainedModel(PreTrainedModel):
    """Base of all models of the family."""

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

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # a derived head is a head: Trainer looks names up, and would not shift the labels of one that it does not find
        if cls._auto_class is not None:
            getattr(modeling_auto, NAME_TABLES[cls._auto_class]).setdefault(cls.__name__, cls.__name__)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        std = getattr(module, "init_std", self.config.initializer_range)
        if isinstance(module, nn.Linear | TfmRouter):
            init.normal_(module.weight, mean=0.0, std=std)
        elif isinstance(module, TfmExperts):
            parts = std if isinstance(std, dict) else {"gate_up_proj": std, "down_proj": std}
            for name, part_std in parts.items():
                init.normal_(getattr(module, name), mean=0.0, std=part_std)
        elif isinstance(module, PerHeadNorm):
            init.ones_(module.weight)
        elif isinstance(module, Attention) and hasattr(module, "sinks"):
            init.zeros_(module.sinks)

    def _check_and_adjust_attn_implementation(
        self, attn_implementation: str | None, is_init_check: bool = False, allow_all_kernels: bool = False
    ) -> str:
        # Every name passes here, Hub kernels and serving engines included, so no forward needs to check anything.
        chosen = self.choose_attention(attn_implementation)
        return super()._check_and_adjust_attn_implementation(chosen, is_init_check, allow_all_kernels)

    def choose_attention(self, requested: str | None) -> str | None:
        """The requested implementation, or by default one that carries what is configured. Raises ValueError naming
        the field that the requested one would silently drop."""
        for need, carriers in special_scores(self.config).items():
            if requested is None and "sdpa" not in carriers:
                requested = "eager"
            if requested is not None and requested not in carriers:
                raise ValueError(
                    f'Specified `attn_implementation="{requested}"` is not supported: it is not known to carry {need}, '
                    f"and would give wrong numbers. Load with attn_implementation set to one of: {', '.join(carriers)}."
                )
        return requested

    @property
    def supports_context_parallel(self) -> bool:
        # with the sequence spread over processes the host has full causal attention without mask or bias, no more
        return super().supports_context_parallel and not special_scores(self.config)

    def _set_gradient_checkpointing(
        self, enable: bool = True, gradient_checkpointing_func: Any = checkpoint, **kwargs: Any
    ) -> None:
        # Reentrant checkpointing runs blocks without a graph, so the recorded router logits would carry no gradient
        # and the load-balancing loss would silently train nothing.
        asked = getattr(gradient_checkpointing_func, "keywords", {})
        if self.config.mlp_type == "moe" and asked.get("use_reentrant", False):
            logger.warning_once("Experts are checkpointed with use_reentrant=False, so that their balance loss trains.")
            gradient_checkpointing_func = partial(gradient_checkpointing_func, use_reentrant=False)
        super()._set_gradient_checkpointing(enable, gradient_checkpointing_func, **kwargs)

    @classmethod
    def maybe_distribute_model(cls, model: Any, distributed_config: Any, mesh_manager: Any) -> Any:
        """As the host's. Raises ValueError for what it would split wrongly; see `check_splits`."""
        if mesh_manager is not None:
            check_splits(model, distributed_config)
        return super().maybe_distribute_model(model, distributed_config, mesh_manager)

    @classmethod
    def _can_set_experts_implementation(cls) -> bool:
        # the host looks for the decorator in the model's own file; ours stands beside the experts
        return True

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> None:
        """As the host's, with the code of the architecture and all its Auto classes, whatever head is saved. A
        subclass that was defined elsewhere is saved as itself, with its own file."""
        kind = type(self)
        head = next(cls for cls in kind.__mro__ if not cls.__module__.startswith("torch."))
        # FSDP2 makes a class on the fly, and the host would save the file that made it
        kind.__module__, kind.__name__ = head.__module__, head.__name__
        # siblings of this file, wherever it has travelled
        ours = head.__module__.rpartition(".")[0] == __name__.rpartition(".")[0]
        self.config.auto_map = dict(self._auto_map) if ours and self.is_remote_code() else {}
        super().save_pretrained(save_directory, *args, **kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """As the host's. An Auto class takes the registered class, whatever class wrote the checkpoint: a subclass
        that was defined elsewhere is opened as itself here, or refused with a ValueError."""
        config = kwargs.get("config")
        writer = (getattr(config, "architectures", None) or [cls.__name__])[0]
        ours = {reference.split(".")[1] for reference in cls._auto_map.values()}
        # only Auto classes pass adapter_kwargs
        if "adapter_kwargs" not in kwargs or writer in {cls.__name__, *ours}:
            return super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        code = (getattr(config, "auto_map", None) or {}).get(cls._auto_class)
        if code is None or not kwargs.get("trust_remote_code"):
            way = "trust_remote_code=True" if code else f"{writer}.from_pretrained"
            raise ValueError(
                f"{pretrained_model_name_or_path} was written by {writer}, a class from elsewhere: open it with {way}, "
                f"or its weights alone with {cls.__name__}.from_pretrained."
            )
        own = get_class_from_dynamic_module(code, pretrained_model_name_or_path, **kwargs)
        return own.from_pretrained(pretrained_model_name_or_path, *args, **kwargs)


def refuse_lossy_batching(config: Any) -> None:
    """Raises ValueError naming what continuous batching would drop. The host packs all requests into one row and keeps
    their keys in pages, where a score bias finds no distances, and reads a window of one token as no window."""
    dropped = {
        f'position_type="{config.position_type}", a score bias': issubclass(
            POSITIONS[config.position_type], BiasPosition
        ),
        "sliding_window=1": config.sliding_window == 1 and "sliding_attention" in config.layer_types,
        f'the encoder of model_type="{config.model_type}"': config.is_encoder_decoder,
    }
    for need in [need for need, wanted in dropped.items() if wanted]:
        raise ValueError(
            f"Continuous batching does not carry {need}, and would give wrong text. Use model.generate, padded on the "
            "left."
        )


def tell_host(model_type: str, heads: dict[str, type[TfmPreTrainedModel]]) -> None:
    """Enter the heads where the host looks for them: by Auto class for saving, by class name in the tables that
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
