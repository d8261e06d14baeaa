"""Generation by every class that can generate: other caches and searches give the same greedy text. It replaces
transformers' larger module."""

from typing import Any

import torch

GREEDY = {"do_sample": False, "max_new_tokens": 6, "min_new_tokens": 6, "pad_token_id": 0}


class GenerationTesterMixin:
    def models_and_prompts(self) -> Any:
        """Models in evaluation mode with their prompts."""
        for model_class in self.all_generative_model_classes:  # pyright: ignore[reportAttributeAccessIssue]
            config, inputs = self.model_tester.prepare_config_and_inputs_for_common()  # pyright: ignore[reportAttributeAccessIssue]
            yield model_class(config).eval(), {name: inputs[name] for name in ("input_ids", "attention_mask")}

    def assert_same_greedy_text(self, **settings: Any) -> None:
        """Greedy text with these settings equals plain greedy text."""
        for model, prompt in self.models_and_prompts():
            plain = model.generate(**prompt, **GREEDY)
            assert torch.equal(model.generate(**prompt, **GREEDY, **settings), plain)

    def test_generate_without_cache(self) -> None:
        self.assert_same_greedy_text(use_cache=False)

    def test_generate_with_static_cache(self) -> None:
        self.assert_same_greedy_text(cache_implementation="static", disable_compile=True)

    def test_generate_with_prompt_lookup(self) -> None:
        for model, prompt in self.models_and_prompts():
            if model.config.is_encoder_decoder:
                continue  # lookup searches the decoder's prompt, which is one token long
            one = {name: value[:1] for name, value in prompt.items()}
            plain = model.generate(**one, **GREEDY)
            assert torch.equal(model.generate(**one, **GREEDY, prompt_lookup_num_tokens=3), plain)

    def test_generate_left_padded_equals_unpadded(self) -> None:
        for model, prompt in self.models_and_prompts():
            if model.config.is_encoder_decoder:
                continue  # encoder inputs are padded on the right
            ids, mask = prompt["input_ids"][:2], prompt["attention_mask"][:2].clone()
            mask[1, :3] = 0
            padded = model.generate(input_ids=ids, attention_mask=mask, **GREEDY)
            unpadded = model.generate(input_ids=ids[1:, 3:], **GREEDY)
            assert torch.equal(padded[1:, 3:], unpadded)

    def test_generate_beams_in_order_of_score(self) -> None:
        """Two sequences come back for each row of the batch, the more likely one first."""
        for model, prompt in self.models_and_prompts():
            found = model.generate(
                **prompt, **GREEDY, num_beams=3, num_return_sequences=2, return_dict_in_generate=True,
                output_scores=True,
            )  # fmt: skip
            assert len(found.sequences) == 2 * len(prompt["input_ids"])
            best, second = found.sequences_scores.view(-1, 2).unbind(1)
            assert (best >= second).all()

    def test_generate_samples_repeat_with_their_seed(self) -> None:
        for model, prompt in self.models_and_prompts():
            texts = []
            for _ in range(2):
                torch.manual_seed(0)
                texts.append(model.generate(**prompt, do_sample=True, max_new_tokens=6, pad_token_id=0))
            assert torch.equal(*texts)
