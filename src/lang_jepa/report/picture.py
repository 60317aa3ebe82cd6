"""The picture of a run: loss, cosine, retrieval and health over the optimizer steps."""

from pathlib import Path

from lang_jepa.files import atomic_file
from lang_jepa.training.metrics import series

Rows = list[dict[str, float]]

_PANELS = (
    ("loss", {"train/loss": "training", "val/loss": "held out", "val/distance": "its distance"}),
    (
        "cosine of prediction and target",
        {"stats/cosine_similarity": "training", "val/semantic/avg_similarity": "held out"},
    ),
    (
        "next sentence among 256",
        {
            "val/retrieval/recall@1": "recall@1",
            "val/retrieval/recall@5": "recall@5",
            "val/retrieval/mrr": "MRR",
        },
    ),
    (
        "spread of held-out embeddings (1 = even)",
        {
            "val/embeddings/target_std_relative": "std x sqrt(D)",
            "val/embeddings/mean_pairwise_cosine": "mean cosine",
            "val/embeddings/first_component_share": "first direction's share",
        },
    ),
    (
        "effective rank",
        {"val/embeddings/target_eff_rank": "targets", "val/embeddings/target_eff_rank_limit": "limit"},
    ),
    ("learning rate", {"train/learning_rate": "learning rate"}),
)


def draw_run(rows: Rows, path: Path, *, title: str) -> None:
    """Write a PNG of a run's curves, atomically.

    Args:
        rows: of `read_metrics`.
        path: of the picture.
        title: above the panels.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 7), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, parse_math=False)  # a path may hold dollar signs
    for axes, (name, lines) in zip(figure.subplots(2, 3).flat, _PANELS, strict=True):
        axes.set_title(name, fontsize=10)
        for column, label in lines.items():
            steps, values = series(rows, column)
            axes.plot(steps, values, label=label, marker="." if len(values) < 30 else None)
        axes.set_xlabel("optimizer step")
        axes.grid(alpha=0.3)
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))  # a cut axis makes small changes look large
        if len(lines) > 1:
            axes.legend(fontsize=8)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
