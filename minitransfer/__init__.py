"""minitransfer: pretraining and transfer learning as a textbook you can run.

From Python, a finished run takes texts, and every command can be called:

    import minitransfer

    minitransfer.run("pretrain.bilm", corpus="sample", out="runs/bilm")       # as `python -m pretrain.bilm …`
    minitransfer.load("runs/bilm").encode(["A moving film, superbly acted."])  # (1, D) numpy, of a frozen encoder
    results = minitransfer.run("finetune.imdb", data="sample", labels=500)    # {"test_accuracy": …, "out": …, …}
    minitransfer.load(results["out"]).predict(["A moving film, superbly acted."])  # array(["positive"])

Contents, in reading order (each module opens with the question it answers and names the next):

    Part I    text into integers     text.corpora · text.cleaning · text.wikitext · text.imdb · text.words
                                     text.batching · text.wordpiece · text.packing
                                     (aside: text.plain · text.own · text.tables · text.sample)
    Part II   static vectors         static.skipgram · static.glove · static.loading
                                                                   command: pretrain.static
    Part III  ELMo                   elmo.charcnn · elmo.bilm · elmo.softmax · elmo.spelling · elmo.mix
                                     elmo.evaluation               command: pretrain.bilm
    Part IV   BERT                   bert.masking · bert.encoder · bert.softmax · bert.evaluation
                                                                   command: pretrain.bert
    Part V    GPT                    gpt.causal · gpt.evaluation · gpt.writing
                                                                   command: pretrain.gpt
    Looking into runs                                              command: pretrain.inspect
    Part VI   transfer               transfer.tokens · transfer.encoders · transfer.loading · transfer.labels
                                     transfer.features · transfer.heads · transfer.freezing · transfer.classifier
                                     transfer.examples · transfer.stopping · transfer.erasure · transfer.api
                                     transfer.baselines · transfer.prompts · bert.distillation
                        commands: finetune.imdb · finetune.predict · finetune.bag · finetune.prompt · pretrain.distil
                                                                   finetune.average · finetune.compare
    To and from elsewhere            huggingface.exchange · names · weights · pieces
                                                                   command: minitransfer.huggingface
    Apparatus, when first needed     errors · options · settings · commands · calling · runtime · progress
                                     durable · saved · metrics · states · checkpoint · keeper · optim · distributed
                                     cache · figures · mirrors · download · archives

Imports go one way: tests → {pretrain, finetune} → transfer → gpt → {elmo, bert} → static → text, and the apparatus
imports none of these. `pretrain` and `finetune` never import each other: they meet in a run directory.

The dimension key, used in every shape:

    B batch · T tokens · C bytes of a word · U distinct words · D width · P projection · V vocabulary · K words drawn
    L layers above layer 0 · H heads, or LSTM units in elmo · d width of a head · S tokens looked at · W pooled width
    Y classes that a text may belong to · N how many, where there is no batch: running tokens, texts
"""

import sys
from importlib.util import find_spec
from os import PathLike

if sys.version_info < (3, 11):  # said in words that any Python 3 can read, before anything that it cannot
    sys.stderr.write("error: Python 3.11 or newer is needed, and this is %d.%d. " % sys.version_info[:2]
                     + "Fix: make the environment with a newer one, as in `python3.12 -m venv .venv`.\n")
    sys.exit(2)

if not find_spec("numpy"):  # flags need it: where no environment is active, a command gets no further than here
    sys.stderr.write("error: the package numpy is not installed for %s. Fix: activate the environment that you "
                     "installed into, or `pip install -e .`.\n" % sys.executable)
    sys.exit(2)

__all__ = ["load", "run"]


def load(run, **options):
    """What a finished run can do with texts: an object with these methods, which can be a step of a `Pipeline`.

    encode(texts)          one vector for each text: (N, D) float32 numpy; `transform` is the same
    layers(text)           the tokens of a text, and (L + 1, T, D) float32, the layers of each
    predict(texts)         the class of each text, (N,)                  these three of a run that classifies
    predict_proba(texts)   the probability of each class, (N, Y)
    classes_               the names of the Y classes

    run: the directory of a run of pretrain.static, bilm, bert, gpt or distil, of finetune.imdb, or of finetune.bag,
    which predicts alone. Of a single string instead of a list each method gives one row. What `encode` computes, and
    the options, are told by help(minitransfer.load("runs/bilm")):

    device="auto"     or "cpu", "cuda": where to compute
    layer=None        of a pretraining run: the one that `encode` takes, instead of the mean of all
    max_tokens=None   of a pretraining run: how many of a text are encoded

    Raises: CheckpointError for a directory that holds no finished run; UsageError for what cannot be meant.
    """
    from minitransfer.apparatus.errors import UsageError
    from minitransfer.transfer.api import load as load_run

    if not isinstance(run, (str, PathLike)):
        raise UsageError(f"the run to load is of type {type(run).__name__}",
                         "give the directory of a finished run, as a string or a path")
    return load_run(run, **options)


def run(command, **flags):
    """Run a command, as `python -m COMMAND` does, and return its results.

    command: "pretrain.bilm", "finetune.imdb", …; `python -m minitransfer` lists them (the last is for the shell alone),
    and `python -m COMMAND --help` its flags. As arguments these have no dashes before, and _ for -: labels=500,
    learning_rate=1e-3, resume=True. Several values are a list, encoders=["runs/static", "runs/bilm"].

    A run that trains returns a dict, as in its results.json or complete.json, with its directory under "out".
    Raises: MinitransferError of minitransfer.apparatus.errors for what a user can mend, with `what` and `fix`;
    KeyboardInterrupt once it was interrupted and has saved its state, with the call that goes on with it.
    """
    from minitransfer.apparatus.calling import call

    return call(command, flags)
