"""The command `sfumato`: finds the verb, reads its options, runs it, and turns errors into messages and exit codes."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Sequence

from sfumato._version import __version__
from sfumato.cli.options import read_options
from sfumato.errors import InputError, SfumatoError, nearest

__all__ = ["main"]

# verb -> module, class, what it does. A module is imported only when its verb is called.
VERBS = {
    "demo": ("sfumato.cli.demo", "Demo", "see it work: samples from the shipped model, and a small fresh training"),
    "train": ("sfumato.cli.train", "Train", "train a model on a folder of pictures or a known data set"),
    "train-classifier": (
        "sfumato.cli.train_classifier",
        "TrainClassifier",
        "train a classifier of noisy pictures, to guide a model",
    ),
    "train-autoencoder": (
        "sfumato.cli.train_autoencoder",
        "TrainAutoencoder",
        "train a KL autoencoder, for latent diffusion",
    ),
    "average": ("sfumato.cli.average", "Average", "make a model of another average of a run's weights"),
    "report": ("sfumato.cli.report", "Report", "write a page of a run: its curves, its samples, its warnings"),
    "sample": ("sfumato.cli.sample", "Sample", "make pictures with a model"),
    "edit": ("sfumato.cli.edit", "Edit", "make pictures like a picture"),
    "inpaint": ("sfumato.cli.inpaint", "Inpaint", "make a part of a picture, or what is around it, new"),
    "batch": ("sfumato.cli.batch", "Batch", "make the pictures that the rows of a file ask for"),
    "interpolate": ("sfumato.cli.interpolate", "Interpolate", "make what is between two pictures, prompts or seeds"),
    "evaluate": ("sfumato.cli.evaluate", "Evaluate", "measure a model's pictures beside real ones"),
    "compare": ("sfumato.cli.compare", "Compare", "measure two models, or two settings of one, side by side"),
    "likelihood": ("sfumato.cli.likelihood", "Likelihood", "measure how many bits pictures cost under a model"),
    "reconstruct": ("sfumato.cli.reconstruct", "Reconstruct", "pass pictures through an autoencoder, see what is lost"),
    "tune": ("sfumato.cli.tune", "Tune", "fit a solver to a model, for few steps"),
    "convert": ("sfumato.cli.convert", "Convert", "make a model folder of another library's model"),
    "export": ("sfumato.cli.export", "Export", "copy a model, with half precision or other defaults"),
    "info": ("sfumato.cli.info", "Info", "say what a model is, or what is installed here"),
}
DATA_VERBS = {
    "check": ("sfumato.cli.data", "Check", "decode every picture of a folder once and report what is odd"),
    "pack": ("sfumato.cli.data", "Pack", "write a folder or a known data set as one fast file"),
    "get": ("sfumato.cli.data", "Get", "fetch and verify a known data set"),
    "list": ("sfumato.cli.data", "List", "list the known data sets"),
}
SOLVER_VERBS = {
    "list": ("sfumato.cli.solvers", "List", "list the solvers and their options"),
    "show": ("sfumato.cli.solvers", "Show", "print or draw the table of a solver"),
}
# group -> its verbs, what it does, the verb that is meant when none is named
GROUPS = {
    "data": (DATA_VERBS, "look at, pack and fetch pictures", None),
    "solvers": (SOLVER_VERBS, "list the solvers, show the numbers of one", "list"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0, 1 for a failure, 2 for a mistake of the user, 130 for Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("sfumato").setLevel(logging.INFO)
    try:
        return _dispatch(words)
    except SfumatoError as error:
        print(f"sfumato: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # the reader went away, as `head` does
        sys.stderr.close()
        return 0
    except OSError as error:
        print(f"sfumato: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _dispatch(words: list[str]) -> int:
    prog, verbs = "sfumato", VERBS
    if words[:1] == ["--version"]:
        print(f"sfumato {__version__}")
        return 0
    if words and words[0] in GROUPS:
        group, (verbs, _, meant) = words[0], GROUPS[words[0]]
        prog, words = f"sfumato {group}", words[1:] or ([meant] if meant else [])
    if not words or words[0] in ("-h", "--help"):
        print(_overview(prog, verbs))
        return 0 if words else 2
    verb, rest = words[0], words[1:]
    if verb not in verbs:
        raise InputError(f"no command {verb!r}. {nearest(verb, [*verbs, *(GROUPS if prog == 'sfumato' else ())])}")
    module, name, _ = verbs[verb]
    command = read_options(getattr(importlib.import_module(module), name), f"{prog} {verb}", rest)
    command.run()
    return 0


def _overview(prog: str, verbs: dict[str, tuple[str, str, str]]) -> str:
    lines = {verb: summary for verb, (_, _, summary) in verbs.items()}
    if prog == "sfumato":
        lines |= {group: summary for group, (_, summary, _) in GROUPS.items()}
    width = max(map(len, lines))
    return "\n".join(
        [
            f"usage: {prog} VERB [options]",
            "",
            *(f"  {verb:<{width}}  {summary}" for verb, summary in lines.items()),
            "",
            f"{prog} VERB --help lists the options of a verb; --config FILE.toml gives defaults for them.",
        ]
    )


def entry() -> None:
    """The console script."""
    sys.exit(main())
