"""Parts of the side-by-side measurements: rounds and ratios on clocks that are told, batches, counts, tables."""

import statistics
import sys

import pytest
import torch

from hf_tfm.benchmark import peers, resident
from hf_tfm.benchmark.batches import (
    IGNORED,
    causal_labels,
    masked_labels,
    packed,
    padded,
    padded_pairs,
    real_lengths,
    sentence_pairs,
    sentences,
)
from hf_tfm.benchmark.ceilings import attention_flops, gemm_rate, matmul_parameters, read_rate, weight_bytes
from hf_tfm.benchmark.contenders import check_equal
from hf_tfm.benchmark.everything import listed, table, watched
from hf_tfm.benchmark.measure import Contender, Match, Rounds, Timed, race, spread
from hf_tfm.benchmark.peers import PeerMissing, Sizes, native
from hf_tfm.benchmark.pictures import draw_ratios
from hf_tfm.benchmark.report import Result, ratio_table
from hf_tfm.benchmark.steps import feeds_of
from hf_tfm.benchmark.works import WORKS

TINY = Sizes(hidden_size=32, layers=2, heads=4, vocab_size=100, length=16)
MATCH = Match("ours", "theirs")


class ToldClock:
    """A clock that moves only where a step says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def steps(self, *seconds):
        """One step of a round; it takes these seconds, round by round, and the last of them for ever."""
        left = list(seconds)

        def step():
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return [step]


def raced(ours, theirs, rounds, units=(1.0, 1.0)):
    clock = ToldClock()
    sides = [Contender("ours", clock.steps(*ours), units[0]), Contender("theirs", clock.steps(*theirs), units[1])]
    return race(sides, [MATCH], rounds, clock=clock)


def test_ratio_is_of_speeds_and_of_the_same_round():
    # the neighbour's load doubles all times of the third round and changes no ratio
    timed = raced([9, 1, 1, 2, 1], [9, 3, 3, 6, 3], Rounds(counted=4, dropped=1), units=(10.0, 10.0))
    assert timed.seconds == {"ours": [1, 1, 2, 1], "theirs": [3, 3, 6, 3]}
    assert timed.ratios(MATCH) == pytest.approx([3, 3, 3, 3])
    assert spread(timed.speeds("ours")) > 0
    assert spread(timed.ratios(MATCH)) == pytest.approx(0)


def test_units_differ_where_the_work_does():
    timed = raced([1], [1], Rounds(counted=3), units=(30.0, 20.0))
    assert statistics.median(timed.ratios(MATCH)) == 1.5


@pytest.mark.parametrize(
    ("ours", "done"), [([1.0], 4), ([1, 2, 1, 2, 1, 2, 1, 2, 1, 2], 8), ([1, 5, 1, 5, *[1.0] * 30], 8)]
)
def test_rounds_are_added_while_a_ratio_spreads(ours, done):
    timed = raced(ours, [1.0], Rounds(counted=4, dropped=0, most=8))
    assert len(timed.seconds["ours"]) == done
    assert len(timed.seconds["theirs"]) == done


def test_added_rounds_end_when_the_middle_half_is_narrow():
    timed = raced([1, 1, 5, 5, *[1.0] * 30], [1.0], Rounds(counted=4, dropped=0, most=30))
    assert 4 < len(timed.seconds["ours"]) < 12


def test_contenders_take_turns_and_begin_in_turn():
    order = []
    sides = [Contender(name, [lambda name=name: order.append(name)] * 2, 1.0) for name in "ab"]
    race(sides, [], Rounds(counted=2, dropped=0))
    assert "".join(order) == "abbabaab"


def test_spread_of_one_round_is_none():
    assert spread([3.0]) == 0
    assert spread([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(2 / 3)


def test_different_answers_are_refused():
    here, there = torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.1])
    assert check_equal({"ours": here, "theirs": here}, [MATCH]) == {"theirs": 0}
    assert check_equal({"ours": here, "theirs": there}, [Match("ours", "theirs", same_weights=False)]) == {}
    with pytest.raises(ValueError, match="answer otherwise"):
        check_equal({"ours": here, "theirs": there}, [MATCH])


@pytest.mark.parametrize("fill", [0.2, 0.4, 0.8])
def test_lengths_have_the_mean_that_was_asked_for(fill):
    lengths = real_lengths(400, 256, fill)
    assert statistics.mean(lengths) / 256 == pytest.approx(fill, abs=0.01)
    assert 4 <= min(lengths) < max(lengths) <= 256


def test_packed_documents_score_the_same_words_as_padded_ones():
    rows = sentences(real_lengths(20, 32, 0.4), 100)
    beside, below = packed(rows, 32, pad=0), causal_labels(padded(rows, pad=0))
    assert beside["input_ids"].shape == beside["position_ids"].shape == beside["labels"].shape
    assert beside["input_ids"].shape[1] == 32
    for batch, ignored in ((beside, 0), (below, 0)):
        scored = batch["labels"][:, 1:]
        assert (scored != IGNORED).sum() == sum(map(len, rows)) - len(rows), ignored
    starts = (beside["position_ids"] == 0).sum()
    assert starts >= len(rows)


def test_labels_stand_where_words_were_hidden():
    batch = padded(sentences(real_lengths(16, 64, 0.5), 100), pad=0)
    hidden = masked_labels(batch, mask_id=4)
    scored = hidden["labels"] != IGNORED
    assert not scored[batch["attention_mask"] == 0].any()
    assert 0.08 < scored.sum() / batch["attention_mask"].sum() < 0.25
    assert (hidden["input_ids"][scored] == 4).all()
    assert (hidden["labels"][scored] == batch["input_ids"][scored]).all()


def test_translations_are_padded_as_the_host_pads_them():
    pairs = sentence_pairs([5, 9, 3], 12, 100)
    batch = padded_pairs(pairs, pad=0)
    assert batch["attention_mask"].sum(1).tolist() == [5, 9, 3]
    assert ((batch["labels"] != IGNORED).sum(1) == torch.tensor([len(pair.target) for pair in pairs])).all()


def test_both_sides_of_a_step_read_the_same_documents():
    feed = feeds_of("packed-lm", 1, 4, 32, 0.4, 100, 0)[0]
    ours = feed.ours["input_ids"][feed.ours["labels"] != IGNORED].sort().values
    # the first word of a document is none of the packed labels
    theirs = feed.theirs["labels"].clone()
    theirs[:, 0] = IGNORED
    assert torch.equal(ours, theirs[theirs != IGNORED].sort().values)
    assert feed.tokens == feed.theirs["attention_mask"].sum()


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_matrices_are_counted_with_the_head_and_without_tables(family):
    model = native(family, "causal-lm", TINY)
    width, inner = 32, {"llama": 3 * TINY.gated_size, "gpt2": 2 * 4 * 32}[family]
    layers = 2 * (4 * width**2 + width * inner)
    assert matmul_parameters(model) == (layers, 0, 100 * width)
    assert matmul_parameters(model).flops(7, 0, 2) == 2 * (7 * layers + 2 * 100 * width)
    assert weight_bytes(model) == 4 * (layers + 100 * width)
    assert attention_flops(model.config, [3, 4]) == 4 * width * 2 * (9 + 16)


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_matrices_of_a_pair_meet_source_or_target(family):
    counts = matmul_parameters(native(family, "seq2seq-lm", TINY))
    stack = 2 * 12 * 32**2
    # of cross-attention the keys and values belong to the source, the other two to the target
    assert counts == (stack + 2 * 2 * 32**2, stack + 2 * 2 * 32**2, 100 * 32)
    assert attention_flops(native(family, "seq2seq-lm", TINY).config, [2], [3]) == 4 * 32 * 2 * (4 + 9 + 6)


def test_the_machine_is_measured():
    for dtype in (torch.float32, torch.bfloat16):
        assert gemm_rate(16, dtype, tokens=32, seconds=0.001) > 0
    assert read_rate(size=2**16, seconds=0.001) > 0


def test_growth_counts_what_a_call_held_and_gave_back():
    begun = resident.begin_growth()
    held = torch.ones(2**24)
    del held
    assert resident.growth(begun) >= 2**26 * 0.9


def test_a_missing_peer_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PeerMissing, match="pip install"):
        peers.x_transformers("causal-lm", TINY)


def test_x_transformers_has_the_shape_of_llama():
    pytest.importorskip("x_transformers")
    model = peers.x_transformers("causal-lm", Sizes(64, 2, 2, 100, 16))
    llama = native("llama", "causal-lm", Sizes(64, 2, 2, 100, 16))
    assert matmul_parameters(model) == matmul_parameters(llama)
    ids = torch.randint(100, (2, 16))
    assert model(ids, labels=ids)["loss"].isfinite()


def some_results():
    ahead = Result("infer", "ours", "bert", 2.7, 0.05, 5, difference=3e-7, target=2.6)
    behind = Result("train", "ours", "gpt2", 0.9, 0.02, 5, target=1.0)
    memory = Result("loss", "ours", "llama", 0.2, unit="bytes", target=0.25, least=False)
    return [ahead, behind, memory]


def test_tables_and_pictures_tell_losses_like_wins(tmp_path):
    results = some_results()
    said = ratio_table(results)
    assert "| 2.70 | 5% | 5 | at least 2.6 | ahead, met | 3e-07 |" in said
    assert "| 0.90 | 2% | 5 | at least 1 | behind, MISSED | other weights |" in said
    assert "| 0.20 (bytes) | 0% | 1 | at most 0.25 | ahead, met |" in said
    path = tmp_path / "ratios.png"
    draw_ratios([vars(one) | {"met": one.met} for one in results], path)
    assert path.stat().st_size > 1000


def test_the_table_of_all_goes_on_after_a_row_that_failed():
    results = [vars(one) | {"met": one.met} for one in some_results()]
    said = table({"padded-384": {"results": results, "seconds": 3.0}, "causal-lm": {"error": "pip i", "seconds": 1.0}})
    assert "padded-384: infer" in said
    assert "2 of 3 targets met" in said
    assert "causal-lm could not be run: pip i" in said


def test_messages_of_a_row_go_on_to_the_screen(capsys):
    script = "import sys; print('half\\n3/4', file=sys.stderr, end=''); sys.exit(3)"
    assert watched([sys.executable, "-S", "-c", script]) == (3, "3/4")
    assert "half" in capsys.readouterr().err


def test_every_work_is_listed_with_its_command():
    said = listed()
    for name, work in WORKS.items():
        assert f"`hf-tfm bench {work.tool} --work {name}`" in said
        # on GPUs ratios are only reported
        assert bool(work.targets) == (work.options.get("device") != "cuda")


def test_timed_without_matches_has_speeds():
    timed = Timed({"a": Contender("a", [], 6.0)}, {"a": [2.0, 3.0]})
    assert timed.speeds("a") == [3.0, 2.0]
