"""Generation of every class that can, in place of the host's larger suite: one greedy text, reached by every way."""

from typing import Any

import torch

GREEDY = {"do_sample": False, "max_new_tokens": 6, "min_new_tokens": 6, "pad_token_id": 0}


class GenerationTesterMixin:
    def ready(self) -> Any:
        """Models in evaluation mode with their prompt."""
        for kind in self.all_generative_model_classes:  # pyright: ignore[reportAttributeAccessIssue]
            config, inputs = self.model_tester.prepare_config_and_inputs_for_common()  # pyright: ignore[reportAttributeAccessIssue]
            yield kind(config).eval(), {name: inputs[name] for name in ("input_ids", "attention_mask")}

    def agree(self, **settings: Any) -> None:
        """Greedy text with these settings is the plain greedy text."""
        for model, prompt in self.ready():
            plain = model.generate(**prompt, **GREEDY)
            assert torch.equal(model.generate(**prompt, **GREEDY, **settings), plain)

    def test_generate_without_cache(self) -> None:
        self.agree(use_cache=False)

    def test_generate_with_static_cache(self) -> None:
        self.agree(cache_implementation="static", disable_compile=True)

    def test_generate_with_prompt_lookup(self) -> None:
        for model, prompt in self.ready():
            if model.config.is_encoder_decoder:
                continue  # the looked-up prompt is the decoder's, which is one token long
            one = {name: value[:1] for name, value in prompt.items()}
            plain = model.generate(**one, **GREEDY)
            assert torch.equal(model.generate(**one, **GREEDY, prompt_lookup_num_tokens=3), plain)

    def test_generate_left_padded_as_alone(self) -> None:
        for model, prompt in self.ready():
            if model.config.is_encoder_decoder:
                continue  # sources are padded on the right
            ids, mask = prompt["input_ids"][:2], prompt["attention_mask"][:2].clone()
            mask[1, :3] = 0
            together = model.generate(input_ids=ids, attention_mask=mask, **GREEDY)
            alone = model.generate(input_ids=ids[1:, 3:], **GREEDY)
            assert torch.equal(together[1:, 3:], alone)

    def test_generate_beams(self) -> None:
        """More beams never end with a less likely text than they report, and one text comes back for each row."""
        for model, prompt in self.ready():
            found = model.generate(
                **prompt, **GREEDY, num_beams=3, num_return_sequences=2, return_dict_in_generate=True,
                output_scores=True,
            )  # fmt: skip
            assert len(found.sequences) == 2 * len(prompt["input_ids"])
            best, second = found.sequences_scores.view(-1, 2).unbind(1)
            assert (best >= second).all()

    def test_generate_samples_by_seed(self) -> None:
        for model, prompt in self.ready():
            texts = []
            for _ in range(2):
                torch.manual_seed(0)
                texts.append(model.generate(**prompt, do_sample=True, max_new_tokens=6, pad_token_id=0))
            assert torch.equal(*texts)
