"""The three architectures written a second time, as plain equations in float64 with loops over heads and positions.

It reads a configuration's fields and a state dict, and shares no code with `hf_tfm`. One row, no padding, no cache.
Sources: Vaswani et al. 2017 (attention, sinusoids), Su et al. 2021 (rotary), Press et al. 2022 (ALiBi), Raffel et al.
2020 (relative buckets), Shazeer 2017 and 2020 (experts, gates), Wang et al. 2022 (DeepNorm), Gemma Team 2024
(soft-caps), Xiao et al. 2023 (sinks); the fields' comments in `configuration_tfm.py` for what the papers leave open.
"""

import math
from typing import Any

import torch
from transformers.activations import ACT2FN

from tests.fuzz.rotary_frequencies import frequencies

Weights = dict[str, torch.Tensor]
Vectors = list[torch.Tensor]  # one per token


class Reference:
    """Logits of a language model from its configuration and weights."""

    def __init__(self, config: Any, weights: Weights) -> None:
        self.config = config
        self.weights = {name: weight.double() for name, weight in weights.items()}

    def logits(self, tokens: list[int], target: list[int] | None = None) -> torch.Tensor:
        """Logits (T, V); of an encoder-decoder those of `target`."""
        config = self.config
        if target is None:
            stack = StackReference(config, self.weights, "model.", config.model_type == "tfm_decoder")
            return self.head(stack, stack.run(tokens))
        encoder = StackReference(config, self.weights, "model.encoder.", False)
        decoder = StackReference(config, self.weights, "model.decoder.", True, is_second=True)
        return self.head(decoder, decoder.run(target, encoder.run(tokens)))

    def head(self, stack: "StackReference", states: Vectors) -> torch.Tensor:
        config, rows = self.config, []
        for x in states:
            if config.lm_head_type == "transform":
                act = stack.activation(config.lm_head_act, "lm_transform.")
                x = act(stack.linear("lm_transform.dense", x, root=True))
                x = stack.norm("lm_transform.norm", x, root=True)
            elif "lm_transform.weight" in self.weights:
                x = stack.linear("lm_transform", x, root=True)
            if config.width_scaling == "mup":
                x = x * config.mup_base_width / config.hidden_size
            y = stack.linear("lm_head", x, root=True) * config.logit_scale
            cap = config.final_logit_softcapping
            rows.append(y if cap is None else cap * torch.tanh(y / cap))
        return torch.stack(rows)


class StackReference:
    """One stack. `is_second`: the decoder of an encoder-decoder, whose fields are named `decoder_...`."""

    def __init__(self, config: Any, weights: Weights, prefix: str, is_causal: bool, is_second: bool = False) -> None:
        self.config, self.weights, self.prefix, self.is_causal, self.is_second = (
            config,
            weights,
            prefix,
            is_causal,
            is_second,
        )
        self.depth = config.decoder_layers if is_second else config.num_hidden_layers
        self.heads = config.decoder_attention_heads if is_second else config.num_attention_heads
        self.groups = self.field("num_key_value_heads")
        self.size = self.field("head_dim")
        self.layer_types = self.field("layer_types")

    def field(self, name: str) -> Any:
        return getattr(self.config, f"decoder_{name}" if self.is_second else name)

    def weight(self, name: str, root: bool = False) -> Any:
        """The tensor of a name, None if there is none."""
        return self.weights.get(name if root else self.prefix + name)

    def linear(self, name: str, x: torch.Tensor, root: bool = False) -> torch.Tensor:
        matrix, bias = self.weight(f"{name}.weight", root), self.weight(f"{name}.bias", root)
        y = matrix @ x
        return y if bias is None else y + bias

    def norm(self, name: str, x: torch.Tensor, root: bool = False) -> torch.Tensor:
        """The configured norm over all of x, with the weight and bias of that name where there are any."""
        weight, bias = self.weight(f"{name}.weight", root), self.weight(f"{name}.bias", root)
        y = self.normalize(x)
        y = y if weight is None else y * weight
        return y if bias is None else y + bias

    def normalize(self, x: torch.Tensor) -> torch.Tensor:
        if self.config.norm_type.endswith("layer_norm"):
            x = x - x.mean()
        return x / torch.sqrt((x * x).mean() + self.config.norm_eps)

    # words and positions

    def run(self, tokens: list[int], memory: Vectors | None = None) -> Vectors:
        x = [self.embed(token, place) for place, token in enumerate(tokens)]
        for layer in range(self.depth):
            x = self.block(layer, x, memory)
        if self.config.residual_type == "post":
            return x
        return [self.norm("norm", row) for row in x]

    def embed(self, token: int, place: int) -> torch.Tensor:
        config = self.config
        x = self.weight("embed_tokens.weight")[token] * self.field("embedding_scale")
        types = self.weight("token_types.embedding.weight")
        if types is not None:
            x = x + types[0]
        if config.embedding_norm == "before_positions":
            x = self.norm("embed_tokens_norm", x)
        if config.position_type == "learned":
            x = x + self.weight("position.embedding.weight")[place + config.position_offset]
        if config.position_type == "sinusoidal":
            x = x + self.sinusoid(place + config.position_offset, x.shape[0])
        if config.embedding_norm == "after_positions":
            x = self.norm("embed_norm", x)
        if self.weight("embed_projection.weight") is not None:
            x = self.linear("embed_projection", x)
        return x

    def sinusoid(self, place: int, width: int) -> torch.Tensor:
        pairs = width // 2
        steps = pairs if self.config.sinusoid_type == "half" else max(1, pairs - 1)
        angles = [place / 10000 ** (k / steps) for k in range(pairs)]
        return torch.tensor([math.sin(a) for a in angles] + [math.cos(a) for a in angles], dtype=torch.float64)

    # the block

    def block(self, layer: int, x: Vectors, memory: Vectors | None) -> Vectors:
        name = f"layers.{layer}."
        branches = [("self_attn", lambda rows: self.attention(layer, rows))]
        if memory is not None:
            branches.append(("cross_attn", lambda rows: self.attention(layer, rows, memory)))
        branches.append(("mlp", lambda rows: [self.feed_forward(layer, row) for row in rows]))
        wiring, start, first_input = self.config.residual_type, x, None
        for branch, function in branches:
            residual = f"{name}{branch}_residual."
            has_norm = branch != "self_attn" or layer > 0 or self.config.first_layer_norm
            read = start if wiring.startswith("parallel") else x
            if wiring == "parallel" and first_input is not None:
                read = first_input
            elif wiring not in ("post", "inner") and has_norm:
                read = [self.norm(f"{residual}pre_norm", row) for row in read]
            first_input = read if first_input is None else first_input
            y = function(read)
            if wiring in ("inner", "sandwich"):
                y = [self.norm(f"{residual}branch_norm", row) for row in y]
            if self.config.layer_scale_init_value is not None:
                y = [row * self.weight(f"{residual}layer_scale.weight") for row in y]
            x = [
                self.skip_weight() * row + self.config.residual_scale * change for row, change in zip(x, y, strict=True)
            ]
            if wiring == "post":
                x = [self.norm(f"{residual}post_norm", row) for row in x]
        return x

    def skip_weight(self) -> float:
        """Alpha of DeepNorm, table 1: N layers of an encoder, M of a decoder."""
        if self.config.depth_scaling != "deepnorm":
            return 1.0
        if self.config.model_type != "tfm_seq2seq":
            return (2 * self.depth) ** 0.25
        if self.is_second:
            return (3 * self.depth) ** 0.25
        return 0.81 * (self.depth**4 * self.config.decoder_layers) ** (1 / 16)

    # attention

    def attention(self, layer: int, x: Vectors, memory: Vectors | None = None) -> Vectors:
        name = f"layers.{layer}.{'self' if memory is None else 'cross'}_attn."
        source = x if memory is None else memory
        queries = [self.linear(f"{name}q_proj", row).view(self.heads, self.size) for row in x]
        keys = [self.linear(f"{name}k_proj", row).view(self.groups, self.size) for row in source]
        values = [self.linear(f"{name}v_proj", row).view(self.groups, self.size) for row in source]
        norms_last = memory is None and getattr(self.config, "qk_norm_position", None) == "after_rotation"
        prefix = f"{name}rotated_" if norms_last else name
        if not norms_last:
            queries, keys = self.norm_heads(prefix, "q", queries), self.norm_heads(prefix, "k", keys)
        if memory is None and self.config.value_residual:
            values = self.mix_values(name, layer, values)
        if memory is None and self.rotates(layer):
            queries = [self.rotate(row, place, layer, len(x)) for place, row in enumerate(queries)]
            keys = [self.rotate(row, place, layer, len(x)) for place, row in enumerate(keys)]
        if norms_last:
            queries, keys = self.norm_heads(prefix, "q", queries), self.norm_heads(prefix, "k", keys)
        if memory is None and self.config.query_temperature is not None:
            length = self.config.query_temperature_length or self.config.max_position_embeddings
            queries = [
                row * (1 + self.config.query_temperature * math.log(1 + place // length))
                for place, row in enumerate(queries)
            ]
        outputs = []
        for i, query in enumerate(queries):
            seen = [j for j in range(len(source)) if memory is not None or self.sees(layer, i, j)]
            gates, heads = self.output_gates(name, x[i]), []
            for h in range(self.heads):
                group = h // (self.heads // self.groups)
                biases = [self.bias(h, j - i) if memory is None else 0.0 for j in seen]
                weights = self.attention_weights(name, h, query[h], [keys[j][group] for j in seen], biases)
                heads.append(gates[h] * sum(weights[n] * values[j][group] for n, j in enumerate(seen)))
            outputs.append(self.linear(f"{name}o_proj", torch.cat(heads)))
        return outputs

    def mix_values(self, name: str, layer: int, values: Vectors) -> Vectors:
        """A share of the layer's own values, and one of the first layer's."""
        if layer == 0:
            self.first_values = values
            return values
        own, first = self.weight(f"{name}value_residual.mix")
        return [own * row + first * other for row, other in zip(values, self.first_values, strict=True)]

    def output_gates(self, name: str, x: torch.Tensor) -> Any:
        """One number per head, or one per element of each head."""
        if self.config.attention_output_gate == "none":
            return [1.0] * self.heads
        return (1 / (1 + torch.exp(-self.linear(f"{name}gate_proj", x)))).view(self.heads, -1)

    def norm_heads(self, name: str, letter: str, rows: Vectors) -> Vectors:
        kind, norm = self.config.qk_norm, f"{name}{letter}_norm"
        if kind == "head":
            return [torch.stack([self.norm(norm, head) for head in heads]) for heads in rows]
        if kind == "heads":
            weight = self.weight(f"{norm}.weight")
            return [torch.stack([self.normalize(head) for head in heads]) * weight for heads in rows]
        return [self.norm(norm, heads) for heads in rows] if kind == "width" else rows

    def attention_weights(self, name: str, h: int, query: torch.Tensor, keys: Vectors, biases: list[Any]) -> Any:
        """Softmax of one query's scores over its keys in head h."""
        scale, cap = self.config.attention_scale, self.config.attn_logit_softcapping
        scale = self.size**-0.5 if scale is None else scale
        if self.config.width_scaling == "mup" and self.config.mup_base_head_dim is not None:
            # 1/d for heads of size d, equal to the standard scale at the base
            base = self.config.mup_base_head_dim
            root = math.sqrt(self.size / base) if self.config.attention_scale is None else 1.0
            scale = scale * root * base / self.size
        scores = []
        for key, bias in zip(keys, biases, strict=True):
            score = (query @ key) * scale
            scores.append((score if cap is None else cap * torch.tanh(score / cap)) + bias)
        exponents = torch.stack(scores)
        if self.config.attention_sinks:
            exponents = torch.cat((exponents, self.weight(f"{name}sinks")[h : h + 1]))
        weights = torch.exp(exponents - exponents.max())
        return weights / weights.sum()

    def sees(self, layer: int, i: int, j: int) -> bool:
        window = self.config.sliding_window if self.layer_types[layer] == "sliding_attention" else None
        if self.is_causal:
            return j <= i and (window is None or i - j < window)
        return window is None or abs(i - j) <= window

    def bias(self, h: int, distance: int) -> Any:
        if self.config.position_type == "alibi":
            return -self.slope(h) * abs(distance)
        if self.config.position_type == "relative_bias":
            return self.weight("position.relative_attention_bias.weight")[self.bucket(distance), h]
        return 0.0

    def slope(self, h: int) -> float:
        power = 2 ** math.floor(math.log2(self.heads))
        if h < power:
            return 2 ** (-8 * (h + 1) / power)
        return 2 ** (-8 * (2 * (h - power) + 1) / (2 * power))

    def bucket(self, distance: int) -> int:
        """T5's bucket of key index minus query index."""
        buckets, after = self.config.relative_attention_num_buckets, 0
        if self.is_causal:
            distance = max(0, -distance)
        else:
            buckets //= 2
            after = buckets if distance > 0 else 0
            distance = abs(distance)
        exact = buckets // 2
        if distance < exact:
            return after + distance
        # float32 as T5: a checkpoint depends on the borders of the buckets
        ratio = torch.log(torch.tensor(distance / exact)) / math.log(
            self.config.relative_attention_max_distance / exact
        )
        return after + min(buckets - 1, exact + int(ratio * (buckets - exact)))

    def rotates(self, layer: int) -> bool:
        if self.config.position_type != "rotary":
            return False
        return self.config.rope_layers is None or self.config.rope_layers[layer]

    def rotate(self, heads: torch.Tensor, place: int, layer: int, length: int) -> torch.Tensor:
        """Pairs (k, k + half) of the first elements turned by place x frequency."""
        parameters = self.config.rope_parameters
        parameters = parameters.get(self.layer_types[layer], parameters)
        speeds, factor = frequencies(parameters, self.size, self.config.max_position_embeddings, length)
        half, rotated = len(speeds), heads.clone()
        for k, speed in enumerate(speeds):
            cos, sin = factor * math.cos(place * speed), factor * math.sin(place * speed)
            first, second = heads[:, k], heads[:, k + half]
            rotated[:, k], rotated[:, k + half] = first * cos - second * sin, second * cos + first * sin
        return rotated

    # feed-forward

    def feed_forward(self, layer: int, x: torch.Tensor) -> torch.Tensor:
        config, name = self.config, f"layers.{layer}.mlp."
        if config.mlp_type == "moe" and (config.moe_layers is None or config.moe_layers[layer]):
            return self.experts(name, x)
        if config.mlp_type == "plain":
            act = self.activation(config.hidden_act, self.prefix + name)
            return self.linear(f"{name}down_proj", act(self.linear(f"{name}up_proj", x)))
        return self.gated(name, x)

    def activation(self, word: str, name: str) -> Any:
        """transformers' activation, with its weights below `name` where it has any."""
        act, name = ACT2FN[word], f"{name}act_fn."
        own = {key[len(name) :]: weight for key, weight in self.weights.items() if key.startswith(name)}
        act.double().load_state_dict(own)
        return act

    def gated(self, name: str, x: torch.Tensor) -> torch.Tensor:
        act = self.activation(self.config.hidden_act, self.prefix + name)
        inner = act(self.linear(f"{name}gate_proj", x)) * self.linear(f"{name}up_proj", x)
        return self.linear(f"{name}down_proj", inner)

    def experts(self, name: str, x: torch.Tensor) -> torch.Tensor:
        act = self.activation(self.config.hidden_act, f"{self.prefix}{name}experts.")
        probabilities = torch.softmax(self.weight(f"{name}gate.weight") @ x, dim=0)
        chosen = torch.argsort(probabilities, descending=True)[: self.config.num_experts_per_tok].tolist()
        total = sum(probabilities[e] for e in chosen) if self.config.norm_topk_prob else 1.0
        y = torch.zeros_like(x)
        for e in chosen:
            gate_up = self.weight(f"{name}experts.gate_up_proj")[e] @ x
            gate, up = gate_up[: gate_up.shape[0] // 2], gate_up[gate_up.shape[0] // 2 :]
            y = y + probabilities[e] / total * (self.weight(f"{name}experts.down_proj")[e] @ (act(gate) * up))
        if self.config.shared_expert_intermediate_size:
            shared = f"{name}shared_expert."
            y = y + torch.sigmoid(self.linear(f"{shared}gate", x)) * self.gated(shared, x)
        return y
