"""How to cite the harness, the paper it studies and the methods it uses."""

from __future__ import annotations

from analysis.figures.provenance import code_version
from analysis.report.blocks import Block, Commands, Folded, Paragraph, Points

SUPERCLASS = (
    "@inproceedings{huang2024superclass,",
    "  title = {Classification Done Right for Vision-Language Pre-Training},",
    "  author = {Huang, Zilong and Ye, Qinghao and Kang, Bingyi and Feng, Jiashi and Fan, Haoqi},",
    "  booktitle = {Advances in Neural Information Processing Systems},",
    "  volume = {37},",
    "  pages = {96483--96504},",
    "  year = {2024},",
    "  note = {arXiv:2411.03313}",
    "}",
)
METHODS = (
    "CLIP, the rival objective: Radford et al. 2021, arXiv:2103.00020.",
    "Laws of parameters and samples: Hoffmann et al. 2022, arXiv:2203.15556; bounded error rates: Alabdulmohsin, "
    "Neyshabur and Zhai 2022, arXiv:2209.06640.",
    "Fitting: variable projection (Golub and Pereyra 1973), the loss of Huber (1964).",
    "Intervals: wild cluster bootstrap (Cameron, Gelbach and Miller 2008; Webb 2023) with leverage correction "
    "(MacKinnon and White 1985; Bell and McCaffrey 2002); profile likelihood (Raue et al. 2009); sets of ratios "
    "(Fieller 1954).",
    "Choice of the form: AICc (Hurvich and Tsai 1989), stacking (Wolpert 1992; Breiman 1996).",
    "Several metrics: Holm 1979. Colours: Okabe and Ito 2008.",
)


def cite_blocks() -> list[Block]:
    """The entry of the harness, that of SuperClass, and the methods behind a summary."""
    code = code_version()
    text = (
        "Cite this harness by its CITATION.cff as: The authors of the scaling harness, A DeepSpeed scaling "
        "harness for "
        f"vision-language pre-training, version {code['version']}, commit {code['commit']}. Cite SuperClass, whose "
        "method it studies, as:"
    )
    return [
        Paragraph(text=text),
        Commands(lines=SUPERCLASS, label="BibTeX entry of SuperClass"),
        Folded(summary="Methods used on this page", blocks=(Points(items=METHODS),)),
    ]
