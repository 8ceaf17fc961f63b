"""What the pretraining commands share around their loops: settings, the corpus, and how a run goes on.

Nothing here imports torch before it is needed, so that `--help` and a mistyped flag are answered at once.

Read next: `pretrain.static.train`.
"""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minitransfer.apparatus.errors import CheckpointError
from minitransfer.text import CORPORA

if TYPE_CHECKING:
    from minitransfer.text.corpora import Corpus


def add_corpus_and_preset(parser: argparse.ArgumentParser, presets: Collection[str]) -> None:
    """Add the flags that name what to learn from, and how large to learn."""
    parser.add_argument("--corpus", metavar="NAME", nargs="+", choices=CORPORA, default=["auto"],
                        help=f"text to learn from, one or several of {', '.join(CORPORA)}; auto is wikitext-2 if it "
                             "can be had, and else the sample (default: auto)")
    parser.add_argument("--preset", choices=presets, default="small",
                        help="sizes of the network, and the default of every training flag below")


def take_preset(arguments: argparse.Namespace, presets: Mapping[str, Mapping[str, Any]],
                sizes: Collection[str] = ()) -> dict[str, Any]:
    """Fill in from the preset what no flag has said; returns all that it decides, for the run's config.

    With --init-from it does not decide the `sizes`: these are taken over from that run.
    """
    flags = vars(arguments)
    preset = presets[arguments.preset]
    training = {name: value if flags.get(name) is None else flags[name] for name, value in preset.items()}
    flags.update(training)
    taken_over = sizes if flags.get("init_from") else ()
    return {name: value for name, value in training.items() if name not in taken_over}


def check_out(arguments: argparse.Namespace, kind: str) -> None:
    """Refuse an --out that is taken, or holds nothing to resume, before minutes go into reading text.

    RunDirectory.create looks again, under its lock, and at every setting; this is only sooner.
    Raises: UsageError for a directory that holds something; CheckpointError if there is no run of `kind` to resume.
    """
    from minitransfer.apparatus.checkpoint import BEGIN_INSTEAD, check_free
    from minitransfer.apparatus.saved import read_config

    out = Path(arguments.out)
    if arguments.resume:
        found = read_config(out, BEGIN_INSTEAD)["kind"]
        if found != kind:
            what = f"{out} holds a run of kind {found!r}, but one of kind {kind!r} is needed to resume"
            raise CheckpointError(what, f"give the --out of a pretrain.{kind} run, or {BEGIN_INSTEAD}")
    else:
        check_free(out)


def already_complete(arguments: argparse.Namespace, known: Mapping[str, Any]) -> bool:
    """Whether --resume names a finished run of just these settings; says so if it does, and touches nothing.

    known: what of the run's config is known before any text is read. Where it differs the answer is no, and
    RunDirectory.create will tell in a moment what differs.
    """
    from minitransfer.apparatus.checkpoint import read_completion
    from minitransfer.apparatus.progress import say
    from minitransfer.apparatus.saved import read_config

    out = Path(arguments.out)
    completion = read_completion(out) if arguments.resume else None
    if completion is None:
        return False
    config, known = read_config(out), json.loads(json.dumps(known))  # tuples become lists, as they are in the file
    corpus = config.get("corpus")
    same_corpus = isinstance(corpus, dict) and corpus.get("name") == "+".join(arguments.corpus)
    if not (same_corpus or "auto" in arguments.corpus) or any(config.get(k) != v for k, v in known.items()):
        return False
    say(f"already complete (step {completion['step']}): {out}")
    return True


def read_corpus(arguments: argparse.Namespace) -> tuple[Corpus, dict[str, str]]:
    """Load the corpora that the flags name; returns the corpus, and the facts about it that a run directory keeps."""
    from minitransfer.apparatus.progress import say
    from minitransfer.text.corpora import find_data_dir, fingerprint, load_corpus

    data_dir = find_data_dir(arguments.data_dir)
    corpus = load_corpus(arguments.corpus, data_dir, offline=arguments.offline, say=say)
    return corpus, {"name": corpus.name, "fingerprint": fingerprint(corpus.train)}


def next_command(arguments: argparse.Namespace, module: str, *more: str) -> str:
    """A command to go on with what has been made, on the same corpora, which are taken from the same place.

    `module` is one that pretrains, with the same --preset, or finetune.imdb, which knows of corpora only whether they
    are the sample.
    """
    words = ["python", "-m", module, *more]
    if module.startswith("pretrain"):
        words += ["--corpus", *arguments.corpus] if arguments.corpus != ["auto"] else []
        words += ["--preset", arguments.preset] if arguments.preset != "small" else []
    elif arguments.corpus == ["sample"]:
        words += ["--data", "sample"]
    words += ["--data-dir", arguments.data_dir] if arguments.data_dir else []
    return shlex.join([*words, "--offline"] if arguments.offline else words)
