"""Tables and plots of results."""

from hf_tfm.benchmark.harness.plots import plot_ratios
from hf_tfm.benchmark.harness.report import Result, ratio_table


def example_results():
    better = Result("infer", "ours", "bert", 2.7, 0.05, 5, difference=3e-7, target=2.6)
    worse = Result("train", "ours", "gpt2", 0.9, 0.02, 5, target=1.0)
    memory = Result("loss", "ours", "llama", 0.2, unit="bytes", target=0.25, higher_is_better=False)
    return [better, worse, memory]


def test_table_and_plot_show_better_and_worse_results(tmp_path):
    results = example_results()
    table = ratio_table(results)
    assert "| 2.70 | 5% | 5 | at least 2.6 | better, met | 3e-07 |" in table
    assert "| 0.90 | 2% | 5 | at least 1 | worse, MISSED | other weights |" in table
    assert "| 0.20 (bytes) | 0% | 1 | at most 0.25 | better, met |" in table
    path = tmp_path / "ratios.png"
    plot_ratios([vars(result) | {"met": result.met} for result in results], path)
    assert path.stat().st_size > 1000
