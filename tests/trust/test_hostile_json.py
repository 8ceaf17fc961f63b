"""Claims about JSON that somebody forged: of any size, depth or type, it is refused in one line, or does no harm, and
never takes more memory than it should.

Manifests are signed anew after each change, so that a checksum alone refuses nothing here. All is read in a child
process that may take only so much memory more than it has.
"""

import json
import random
import shutil

import pytest
import torch
from classifier_runs import make_bag, make_transfer
from encoder_runs import WORDS, make_bert, make_bilm, make_gpt, make_static
from faults import CONFIG, begin, finish, in_a_child, limit_memory, make_state, value_of

from finetune.compare.grid import NUMBERS, Cell, results_of
from finetune.imdb import __main__ as imdb
from finetune.imdb.model import build, build_encoder, fit_to_encoder
from finetune.predict import answer as predict
from finetune.reports import corpus_of
from minitransfer.apparatus.checkpoint import RunDirectory, load_run, read_completion
from minitransfer.apparatus.commands import run_command
from minitransfer.apparatus.durable import manifest_of, to_json
from minitransfer.apparatus.errors import CheckpointError, UsageError
from minitransfer.transfer.classifier import load_classifier, max_tokens_of
from minitransfer.transfer.examples import predict as probabilities
from pretrain.bert import run as bert
from pretrain.bert.start import check_network
from pretrain.bilm import run as bilm
from pretrain.gpt import run as gpt
from pretrain.static import train as static

CPU = torch.device("cpu")
MEGABYTES = 500
ABSURD = [None, True, -1, 0, 7.5, 10**9, 10**30, 1e308, float("nan"), float("inf"), "x" * 1_000, "10", [], {}, [[1]],
          {"a": {}}, [10**9] * 3]  # fmt: skip
RAW = {  # whole files
    "nothing": b"", "no object": b"[1]", "a text": b'"config"', "half of one": b'{"kind": "bilm", ',
    "two of them": b"{}{}", "no UTF-8": b'{"kind": "\xff"}', "lone surrogates": b'{"kind": "\\ud800"}',
    "NaN for all": b"NaN", "a number of 9,999 digits": b'{"step": ' + b"9" * 9_999 + b"}",
    "a number beyond any": b'{"step": 1e999, "format_version": 1e999, "kind": 1e999}',
    "lists within lists": b"[" * 100_000, "objects within objects": b'{"a":' * 100_000,
    "megabytes": b'{"a": "' + b"x" * 2**21 + b'"}', "NUL": b"\x00" * 64,
    "keys without end": b"{" + b",".join(b'"%d":{}' % i for i in range(60_000)) + b"}",
    "a key twice": b'{"kind": "bilm", "kind": "static", "format_version": 1, "format_version": 1}',
}  # fmt: skip
UNSAID = {  # whole files that are objects, and say nothing or say it by another type
    "an empty object": b"{}", "null": b"null", "a kind that is a number": b'{"kind": 3, "format_version": 1}',
    "a version that is a text": b'{"kind": "bilm", "format_version": "1"}', "a list for a step": b'{"step": []}',
    "NaN for a step": b'{"step": NaN}',
}  # fmt: skip
DEPTHS = (100, 300, 700, 900, 940, 980, 995)  # of what Python's parser may just take, and a second look may not


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs")
    make_static(path / "static", WORDS, torch.rand(len(WORDS), 7))
    make_bilm(path / "bilm"), make_bert(path / "bert"), make_gpt(path / "gpt"), make_bag(path / "bag")
    make_transfer(path / "transfer", path / "bilm"), make_transfer(path / "transfer-bert", path / "bert")
    return path


def leaves(value, way=()):
    """The way to each entry of nested objects and lists, objects and lists themselves included; of many a few."""
    if way:
        yield way
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(entries)[:12]:
        yield from leaves(inner, (*way, key))


def replaced(value, way, other):
    """The same nested value with another entry at the end of the way."""
    copy = json.loads(json.dumps(value))
    at = copy
    for key in way[:-1]:
        at = at[key]
    at[way[-1]] = other
    return copy


def sign(path):
    """Make the manifest of a run fit its files, as whoever forges a run would."""
    names = json.loads((path / "manifest.json").read_text())["files"]
    (path / "manifest.json").write_bytes(to_json(manifest_of({name: (path / name).read_bytes() for name in names})))


def use(path):
    """Do with a run what would be done with it, up to the first answer. Raises: CheckpointError or UsageError."""
    run = load_run(path)
    text = "a film of many words " * 40
    if run.kind == "transfer":
        model = load_classifier(run, CPU)
        tokenised = model.encoder.tokenise([text, ""], max_tokens_of(run.config, model.encoder))
        assert probabilities(model, tokenised).shape == (2, 2)
        return
    told = corpus_of(run, "frozen")
    assert told is None or isinstance(told, str)
    for flags in ([], ["--mode", "scratch"]):
        settings = imdb.Settings.parse_args(["--encoder", str(path), *flags])
        model = build(build_encoder(run, settings), settings)
        model.encoder.tokenise([text], fit_to_encoder(settings, model.encoder).max_tokens)
    if run.kind in ("bert", "gpt"):
        check_network(run)


def refused_or_harmless(act, told, named=""):
    """Whether something is refused by an error for users that has `named` in it; what else happens, but that it is
    done, is noted in `told`."""
    try:
        act()
    except (CheckpointError, UsageError) as failure:
        if named not in str(failure):
            told.append(f"{named} is not named in: {failure!s:.200}")
        if len(str(failure)) > 3_000:
            told.append(f"a message of {len(str(failure)):,} characters")
        return True
    except BaseException as failure:
        told.append(f"{type(failure).__name__}: {failure!s:.200}")
    return False


def in_bounds(work):
    """Run `work(told)` in a child of bounded memory; what it tells is a failure."""
    def limited():
        limit_memory(MEGABYTES)
        told = []
        work(told)
        if told:
            print("\n".join(told[:30]), flush=True)
            raise AssertionError

    assert in_a_child(limited) == 0


@pytest.mark.parametrize("kind", ["static", "bilm", "bert", "gpt", "transfer", "transfer-bert"])
def test_a_config_with_any_entry_forged_is_refused_or_does_no_harm(runs, tmp_path, kind):
    path = shutil.copytree(runs / kind, tmp_path / "run")
    config = json.loads((path / "config.json").read_text())
    rng = random.Random(kind)
    ways = [*leaves(config)]
    found_once = {"max_tokens", "dropout", "seq_length", "filters", 0}  # where something was let through
    tried = {way: ABSURD if way[-1] in found_once else rng.sample(ABSURD, 4) for way in ways}

    def work(told):
        for way, some in tried.items():
            for other in some:
                (path / "config.json").write_text(json.dumps(replaced(config, way, other)))
                sign(path)
                refused_or_harmless(lambda: use(path), mine := [])
                told += [f"{'.'.join(map(str, way))} = {other!r:.40}: {problem}" for problem in mine]

    in_bounds(work)


def test_a_tokenizer_with_any_entry_forged_is_refused_or_does_no_harm(runs, tmp_path):
    path = shutil.copytree(runs / "bert", tmp_path / "run")
    whole = json.loads((path / "tokenizer.json").read_text())

    def work(told):
        rng = random.Random(3)
        forged = [json.dumps(replaced(whole, way, other)).encode()
                  for way in leaves(whole) for other in rng.sample(ABSURD, 2)]
        for data in [*forged, *RAW.values()]:
            (path / "tokenizer.json").write_bytes(data)
            sign(path)
            refused_or_harmless(lambda: use(path), told)

    in_bounds(work)


@pytest.mark.parametrize("name", ["config.json", "manifest.json"])
def test_a_file_that_is_anything_else_is_refused_by_readers_and_by_those_who_go_on(tmp_path, name):
    finish(tmp_path / "run")
    path = tmp_path / "run"

    def work(told):
        deep = {f"objects {n} deep": b'{"a":' * n + b"1" + b"}" * n for n in DEPTHS}
        ours = b'{"kind": "bilm", "format_version": 1, "files": '
        kept = {f"kind and {n} deep": ours + b'{"a":' * n + b"1" + b"}" * (n + 1) for n in DEPTHS}
        for what, data in {**RAW, **UNSAID, **deep, **kept}.items():
            (path / name).write_bytes(data)
            if not refused_or_harmless(lambda: load_run(path), told, name):
                told.append(f"{what}: {name} was read")
            file = "" if what == "a key twice" or what in kept else name  # those are configs, of another run
            if name == "config.json" and not refused_or_harmless(lambda: go_on(path), told, file):
                told.append(f"{what}: gone on with")

    in_bounds(work)


def go_on(path):
    """Resume a run."""
    with begin(path, resume=True) as run:
        return run.load_state()


def test_entries_of_a_manifest_that_are_forged_let_no_other_file_in(runs, tmp_path):
    path = shutil.copytree(runs / "bilm", tmp_path / "run")
    whole, tensors = json.loads((path / "manifest.json").read_text()), load_run(runs / "bilm").tensors

    def act():
        assert all(torch.equal(tensor, tensors[name]) for name, tensor in load_run(path).tensors.items())

    def work(told):
        for way in leaves(whole):
            for other in ABSURD:
                (path / "manifest.json").write_text(json.dumps(replaced(whole, way, other)))
                refused_or_harmless(act, told)
        text = json.dumps(whole)
        false = ', "files": {"model.safetensors": {"size": 1, "sha256": ""}}}'
        (path / "manifest.json").write_text(text[:-1] + false)
        if not refused_or_harmless(act, told):
            told.append("of two lists of files the false one was not looked at")

    in_bounds(work)


@pytest.mark.parametrize("name", ["latest", "step-00000002/manifest.json"])
def test_a_forged_pointer_or_manifest_of_a_state_leads_to_a_whole_state(tmp_path, name):
    with begin(tmp_path / "run") as run:
        for step in (1, 2):
            run.save_state(step, make_state(float(step)))

    def work(told):
        for data in [*RAW.values(), b"step-00000001/../../x", b"step-" + b"9" * 5_000, b"../state/step-00000001"]:
            (tmp_path / "run" / "state" / name).write_bytes(data)
            if refused_or_harmless(lambda: value_of(go_on(tmp_path / "run")), told):
                told.append(f"{data[:40]!r} stopped a run that has a good state")

    in_bounds(work)


def test_a_note_of_completion_that_is_cut_short_may_be_deleted(runs, tmp_path):
    path = shutil.copytree(runs / "static", tmp_path / "run")
    (path / "complete.json").write_bytes((path / "complete.json").read_bytes()[:7])
    with pytest.raises(CheckpointError, match="Fix: delete it, and the run goes on from its last state with --resume"):
        read_completion(path)


@pytest.mark.parametrize("command", ["static", "bilm", "bert", "gpt", "bag"])
def test_a_forged_note_of_completion_ends_a_command_with_4_and_one_line(runs, tmp_path, capfd, command):
    path = shutil.copytree(runs / command, tmp_path / "run")
    module = {"static": static, "bilm": bilm, "bert": bert, "gpt": gpt}.get(command)

    def work():
        limit_memory(MEGABYTES)
        for data in (RAW | UNSAID).values():
            (path / "complete.json").write_bytes(data)
            if module is None:
                config = json.loads((path / "config.json").read_text())
                with pytest.raises(CheckpointError, match=r"complete\.json"):
                    RunDirectory.create(path, config, resume=True)
                continue
            flags = ["--corpus", "sample", "--preset", "tiny", "--offline", "--out", str(path), "--resume"]
            assert run_command(module.main, module.Settings, flags) == 4

    assert in_a_child(work) == 0
    lines = capfd.readouterr().err.splitlines()
    assert all(line.startswith("error: ") and "complete.json" in line for line in lines)
    assert len(lines) == (len(RAW | UNSAID) if module else 0)


RESULTS = {"labels": 12, "seed": 0, "mode": "frozen", "data": "sample", "test_accuracy": 0.5, "seconds": 1.5,
           "seconds_encoding": 1.0, "seconds_training": 0.5, "epochs": 2}  # fmt: skip


@pytest.mark.parametrize("name", RESULTS)
def test_forged_results_are_not_taken_for_a_row_of_the_table(tmp_path, name):
    for other in [None, True, 7, float("nan"), float("inf"), 10**400, [], {}, "absent"]:
        if other == 7 and name in NUMBERS:
            continue
        told = {key: value for key, value in {**RESULTS, name: other}.items() if value != "absent"}
        path = tmp_path / f"{name}-{other}"[:40]
        with begin(path, config={**CONFIG, "kind": "transfer", "labels": 12}) as run:
            run.save_model({"w": torch.ones(1)}, {"results.json": json.dumps(told)})
            run.mark_complete(1, {})
        cell = Cell("oracle", "frozen", 12, 0, "finetune.imdb", (), path)
        assert results_of(cell, {"labels": 12}) is None
    good = tmp_path / "good"
    with begin(good, config={**CONFIG, "kind": "transfer", "labels": 12}) as run:
        run.save_model({"w": torch.ones(1)}, {"results.json": json.dumps(RESULTS)})
        run.mark_complete(1, {})
    assert results_of(Cell("oracle", "frozen", 12, 0, "finetune.imdb", (), good), {"labels": 12}) == RESULTS


def weights_file(data: bytes = b"", **tensors: tuple) -> bytes:
    """A safetensors file whose header says of each tensor: its type, its shape, and where it begins and ends."""
    told = {name: dict(zip(("dtype", "shape", "data_offsets"), tensor)) for name, tensor in tensors.items()}
    header = json.dumps(told).encode()
    return len(header).to_bytes(8, "little") + header + data


WEIGHTS = {
    "a header of exabytes": (2**62).to_bytes(8, "little") + b"{}",
    "a header of 99 MB that is not there": (99 * 10**6).to_bytes(8, "little"),
    "a tensor of exabytes": weights_file(w=("F32", [2**60], [0, 2**62])),
    "a shape that wraps": weights_file(w=("F32", [2**32, 2**32], [0, 0])),
    "nothing of a great shape": weights_file(w=("F32", [0, 2**62], [0, 0])),
    "an unknown type": weights_file(b"1234", w=("F33", [1], [0, 4])),
    "offsets backwards": weights_file(b"1234", w=("F32", [1], [4, 0])),
    "tensors on one another": weights_file(b"1234", a=("F32", [1], [0, 4]), b=("F32", [1], [0, 4])),
    "a depth without end": (5 * 50_000).to_bytes(8, "little") + b'{"w":' * 50_000,
    "another type than was saved": None,
}  # fmt: skip


@pytest.mark.parametrize("what", WEIGHTS)
def test_forged_weights_are_refused_before_anything_of_their_size_is_taken(runs, tmp_path, capfd, what):
    path = shutil.copytree(runs / "transfer", tmp_path / "run")
    if WEIGHTS[what] is None:
        import safetensors.torch

        tensors = {name: tensor.to(torch.int64) for name, tensor in load_run(path).tensors.items()}
        tensors["head.W1.weight"] = tensors["head.W1.weight"].to(torch.complex64)
        safetensors.torch.save_file(tensors, path / "model.safetensors")
    else:
        (path / "model.safetensors").write_bytes(WEIGHTS[what])
    sign(path)

    def work():
        limit_memory(MEGABYTES)
        assert run_command(predict.main, predict.Settings, [str(path), "a film"]) == 4

    assert in_a_child(work) == 0
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("error: ") and "run" in line and "Fix: " in line
