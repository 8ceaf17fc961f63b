"""Claims about looking into runs: in context a word of two senses is told apart, in no context it never is; what is
said of a mask, a mix and a training is what the run holds; and what cannot be looked into is one line.
"""

import json
import math
import re
import subprocess
import sys

import pytest
import torch
from encoder_runs import make_bert, make_bilm, make_gpt, make_static

import pretrain.bilm.run
from finetune.imdb import __main__ as imdb
from minitransfer.apparatus.checkpoint import RunDirectory, load_run
from minitransfer.apparatus.commands import run_command
from minitransfer.bert.encoder import MaskedLM
from minitransfer.text.sample import SENSES, articles, sense_contexts
from minitransfer.text.words import SPECIAL_WORDS
from minitransfer.transfer.loading import load_encoder
from pretrain.inspect import look as inspect
from pretrain.inspect.attention import attentions
from pretrain.inspect.curves import History, common_axis, read_history
from pretrain.inspect.geometry import cosines
from pretrain.inspect.occurrences import CONTEXT, Occurrence, encode, find, windows_of
from pretrain.inspect.senses import marked_occurrences, nearest_of_same_sense, same_sense_by_chance
from pretrain.inspect.side_by_side import compare_runs

PNG = b"\x89PNG\r\n"
SMALL = dict(hidden_size=24, projection_size=12, filters=((1, 8), (3, 40), (5, 40)), vocab_size=3_000, epochs=2,
             batch_size=8, window=24, negatives=64, learning_rate=1e-2, dropout=0.0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A biLM that has read a third of the built-in articles once: the run, and where its corpus is."""
    path = tmp_path_factory.mktemp("trained")
    (path / "data" / "wikitext-2").mkdir(parents=True)
    for split, documents in zip(("train", "valid"), articles()):
        titled = [document.replace("\n", "\n\n", 1) for document in documents[:140]]  # a title has blank lines around
        text = "".join(f"\n{document}\n" for document in titled)
        (path / "data" / "wikitext-2" / f"wiki.{split}.tokens").write_text(text)
    before, pretrain.bilm.run.Settings.presets["tiny"] = pretrain.bilm.run.Settings.presets["tiny"], SMALL
    try:
        argv = ["--corpus", "wikitext-2", "--offline", "--data-dir", str(path / "data"), "--preset", "tiny", "--out",
                str(path / "bilm"), "--log-every", "0.5", "--warm-start", "none"]
        assert run_command(pretrain.bilm.run.main, pretrain.bilm.run.Settings, argv) == 0
    finally:
        pretrain.bilm.run.Settings.presets["tiny"] = before
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs that have learnt nothing, of every kind; two transfer runs; and one that was killed within a row."""
    path = tmp_path_factory.mktemp("runs")
    make_bilm(path / "bilm")
    make_bilm(path / "stranger", corpus={"name": "my own"})
    make_bert(path / "bert"), make_gpt(path / "gpt")
    make_static(path / "static", [*SPECIAL_WORDS, "bank"], torch.eye(4))
    for out, encoder, head in [("frozen", "bilm", "mean"), ("cls", "bert", "cls")]:
        argv = ["--data", "sample", "--encoder", str(path / encoder), "--head", head, "--labels", "40",
                "--epochs", "2", "--max-tokens", "9", "--no-cache", "--out", str(path / out)]
        assert run_command(imdb.main, imdb.Settings, argv) == 0
    with RunDirectory.create(path / "begun", {"kind": "bert"}, resume=False) as run:
        for row in [{"step": 2, "tokens": 100, "loss": 5.0, "learning_rate": 0.1}, {"step": 3, "held_out_loss": 4.5},
                    {"step": 9, "tokens": 500, "loss": 4.0}]:
            run.log_metrics(row)
    with open(path / "begun" / "metrics.jsonl", "a") as file:
        file.write('{"step": 11, "tok')
    return path


def ask(capsys, *argv):
    """The exit code, and what is on stdout and on stderr."""
    capsys.readouterr()
    code = run_command(inspect.main, inspect.Settings, [str(a) for a in argv])
    return code, *capsys.readouterr()


def same_sense(h, senses):
    """How often the nearest of the others has the same sense; of several that are equally near, the share that do."""
    similarity, rates = cosines(h, h), []
    for i, row in enumerate(similarity.tolist()):
        others = [j for j in range(len(row)) if j != i]
        best = max(row[j] for j in others)
        tied = [j for j in others if row[j] > best - 1e-12]
        rates.append(sum(senses[j] == senses[i] for j in tied) / len(tied))
    return sum(rates) / len(rates)


@pytest.mark.parametrize("word", SENSES)
def test_in_context_the_nearest_occurrence_has_the_same_sense_and_at_layer_0_by_chance(trained, word):
    occurrences, senses = marked_occurrences(word)
    encoder = load_encoder(load_run(trained / "bilm"), torch.device("cpu"))
    words, _ = encode(encoder, *windows_of(occurrences, encoder, False))
    n = len(senses)
    chance = sum(a == b for i, a in enumerate(senses) for j, b in enumerate(senses) if i != j) / (n * (n - 1))
    assert chance < 0.7 and same_sense(words[0], senses) == pytest.approx(chance, abs=1e-12)
    assert min(same_sense(words[1], senses), same_sense(words[2], senses)) > 0.9
    assert same_sense_by_chance(senses) == pytest.approx(chance, abs=1e-12)
    assert [nearest_of_same_sense(h, senses) for h in words] == pytest.approx([same_sense(h, senses) for h in words])


@pytest.mark.parametrize("word", SENSES)
def test_each_marked_sentence_is_met_once_with_the_word_where_its_mark_stands(word):
    marked = {}
    for sentence, position, sense in sense_contexts(word):
        if sentence.split()[position].lower() == word:
            marked.setdefault(sentence.lower(), (position, sense))  # the first, where one sentence has two
    occurrences, senses = marked_occurrences(word)
    assert {" ".join(o.words): (o.position, sense) for o, sense in zip(occurrences, senses)} == marked
    assert all(o.words[o.position] == word for o in occurrences) and len(occurrences) == len(marked) > 50


def test_of_equally_near_uses_the_share_of_the_same_sense_counts():
    h = torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [0.0, 1.0], [0.1, 1.0]])
    senses = ["a", "a", "b", "b", "b"]
    assert nearest_of_same_sense(h, senses) == pytest.approx((0.5 + 0.5 + 0 + 1 + 1) / 5)
    assert same_sense_by_chance(senses) == pytest.approx((2 * 1 + 3 * 2) / (5 * 4))


@pytest.mark.parametrize("kind, num_layers", [("bilm", 3), ("bert", 3)])
def test_senses_are_told_of_layer_by_layer_in_text_and_in_a_picture(runs, capsys, tmp_path, kind, num_layers):
    pytest.importorskip("matplotlib")
    code, out, err = ask(capsys, runs / kind, "--senses", "seal", "--out", tmp_path / "seal.png")
    occurrences, senses = marked_occurrences("seal")
    encoder = load_encoder(load_run(runs / kind), torch.device("cpu"))
    words, _ = encode(encoder, *windows_of(occurrences, encoder, False))
    told = re.findall(r"(?m)^  (\d), \S.*? +(\d\.\d{3})$", out)
    assert code == 0 and err == "" and [int(k) for k, _ in told] == list(reversed(range(num_layers)))
    assert [float(share) for _, share in reversed(told)] == pytest.approx(
        [same_sense(h, senses) for h in words], abs=5e-4)
    counts = f"({senses.count(senses[0])} {senses[0]}, {len(senses) - senses.count(senses[0])} "
    assert out.startswith(f"seal: {len(senses)} sentences of the built-in articles {counts}")
    assert (tmp_path / "seal.png").read_bytes().startswith(PNG) and out.endswith(f"picture: {tmp_path / 'seal.png'}\n")


def test_in_the_picture_a_sense_is_a_colour_and_a_marker_and_layer_0_one_point():
    pytest.importorskip("matplotlib")
    layers = [[[0.0, 0.0]] * 3, [[1.0, 2.0], [3.0, 1.0], [-4.0, 0.5]]]
    titles = ["0, table\n50%", "1, LSTM $\n100%"]
    figure = inspect.drawings().draw_senses(layers, ["river", "money", "river"], titles, "bank $")
    below, above = figure.axes
    assert [[tuple(xy) for xy in dots.get_offsets().tolist()] for dots in above.collections] == [
        [(1.0, 2.0), (-4.0, 0.5)], [(3.0, 1.0)]]
    assert [text.get_text() for text in below.texts] == ["all 3 in one point"] and not above.texts
    assert above.get_title() == "1, LSTM \\$\n100%" and [d.get_label() for d in above.collections] == ["river", "money"]
    assert len({tuple(dots.get_facecolor()[0]) for dots in above.collections}) == 2


def test_even_random_weights_see_the_words_around(runs):
    """A caution: what is nearest stands among the same words, and to see those no training is needed."""
    occurrences, senses = marked_occurrences("bank")
    encoder = load_encoder(load_run(runs / "bilm"), torch.device("cpu"))
    words, _ = encode(encoder, *windows_of(occurrences, encoder, False))
    assert same_sense(words[2], senses) > 0.8


def test_a_word_is_found_once_in_each_line_that_says_something_around_it():
    documents = ["= The bank =\nThe Bank by the bank .\nriverbank\nbank", "nothing",
                 "A bank , <unk> .\nThe Bank by the bank .\nThe bank ."]
    assert find("bank", documents, True, 9) == [
        Occurrence(0, ["the", "bank", "by", "the", "bank", "."], 1),
        Occurrence(2, ["a", "bank", ",", "<unk>", "."], 1), Occurrence(2, ["the", "bank", "."], 1)]
    assert find("bank", documents, True, 2) == find("bank", documents, True, 9)[:2]
    assert find("<unk>", documents, False, 9) == []


def test_an_occurrence_is_shown_with_its_word_in_a_column():
    lines = [Occurrence(0, "a bank of the long , long river".split(), 1).in_context(9),
             Occurrence(0, "they all went to the\x1b[1m bank".split(), 5).in_context(9)]
    assert lines == ["        a [bank] of the lo", "he\\x1b[1m [bank]          "]


def test_the_vector_of_a_word_is_that_of_its_line_read_alone(runs):
    """Whatever is read beside it in a batch; of the line as many words as CONTEXT tells."""
    encoder = load_encoder(load_run(runs / "bilm"), torch.device("cpu"))
    far, near = [f"w{i}" for i in range(40)], ["the", "steep"]
    lines = [Occurrence(0, [*near, "bank", "of", "it"], 2), Occurrence(1, [*far, "bank", *far], 40)]
    tokens, windows = windows_of(lines, encoder, False)
    found, others = encode(encoder, tokens, windows)
    assert [len(w.token_ids) for w in windows] == [5, 2 * CONTEXT + 1]
    for i, words in enumerate([[*near, "bank", "of", "it"], [*far[-CONTEXT:], "bank", *far[:CONTEXT]]]):
        alone = encoder.encode(encoder.token_table(words).unsqueeze(0), torch.ones(1, len(words), dtype=torch.bool))
        torch.testing.assert_close(found[:, i], alone[:, 0, words.index("bank")])
        distance = (alone[:, 0] - others[:, i].unsqueeze(1)).abs().amax(dim=(0, 2))
        assert distance.argmin() != words.index("bank") and distance.min() < 1e-6


def test_a_word_of_several_pieces_has_their_mean_in_the_middle_of_what_bert_reads(runs):
    encoder = load_encoder(load_run(runs / "bert"), torch.device("cpu"))
    many = ["film"] * 100
    tokens, windows = windows_of([Occurrence(0, [*many, "unwatchable", *many], 100),
                                  Occurrence(1, ["unwatchable", "film"], 0)], encoder, False)
    found, _ = encode(encoder, tokens, windows)
    for i, w in enumerate(windows):
        spelled = "".join(tokens[t].removeprefix("##") for t in w.token_ids[w.start : w.stop])
        assert spelled == "unwatchable" and w.stop - w.start > 1
        assert (tokens[w.token_ids[0]], tokens[w.token_ids[-1]]) == ("[CLS]", "[SEP]")
        layers = encoder.bert(torch.from_numpy(w.token_ids).long().unsqueeze(0))  # (L + 1, 1, T, D)
        mean = sum(layers[:, 0, t] for t in range(w.start, w.stop)) / (w.stop - w.start)
        torch.testing.assert_close(found[:, i], mean)
    assert len(windows[0].token_ids) <= encoder.max_tokens and windows[0].start > 20 and windows[1].start == 1


def test_a_word_is_told_of_in_text_and_in_a_picture(trained, capsys, monkeypatch, tmp_path):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    flags = ("--word", "Bank", "--data-dir", trained / "data", "--offline", "--occurrences", 30)
    code, out, _ = ask(capsys, trained / "bilm", *flags)
    assert code == 0 and re.match(r"bank: 30 lines of \d+ documents of wikitext-2, encoded by .*bilm\n", out)
    layers = re.findall(r"(?m)^  (\d) +(\S+) \((\S+) to (\S+)\) +(\S+) +(\S+)$", out)
    assert [row[0] for row in layers] == ["0", "1", "2"] and layers[0][1:4] == ("1.000",) * 3
    for _, mean, least, greatest, at_random, difference in layers:
        assert float(least) <= float(mean) <= float(greatest)
        assert float(difference) == pytest.approx(float(mean) - float(at_random), abs=2e-3)
    assert len(re.findall(r"\[bank\]", out)) == 6 * (1 + 3) and out.count("nearest words by layer 0") == 1
    assert out.endswith("picture: runs/inspect-bilm-bank.png\n")
    assert (tmp_path / "runs" / "inspect-bilm-bank.png").read_bytes().startswith(PNG)
    assert [p.name for p in tmp_path.iterdir()] == ["runs"]


def test_at_layer_0_a_bilm_has_nothing_to_choose_by_and_nothing_to_draw(trained, capsys, tmp_path):
    flags = ("--word", "bank", "--data-dir", trained / "data", "--offline", "--layer", 0, "--out", tmp_path / "x.png")
    code, out, _ = ask(capsys, trained / "bilm", *flags)
    assert code == 0 and "are the same vector: no line is nearer than another" in out and "[bank]" not in out
    assert not (tmp_path / "x.png").exists()


def test_the_pieces_guessed_are_those_of_the_softmax_at_each_mask(runs, capsys):
    code, out, _ = ask(capsys, runs / "bert", "--fill", "the [MASK] was [MASK].")
    run = load_run(runs / "bert")
    encoder = load_encoder(run, torch.device("cpu"))
    model = MaskedLM(encoder.bert.config).eval()
    model.load_state_dict(run.tensors)
    the, was, stop = (int(ids[0]) for ids in encoder.wordpiece.encode(["the", "was", "."]))
    p = model(torch.tensor([[2, the, 4, was, 4, stop, 3]]))[0].softmax(dim=-1)
    parts = out.split("[MASK] ")[1:]
    assert code == 0 and [part.split("\n")[0] for part in parts] == ["1 of 2", "2 of 2"]
    for part, place in zip(parts, (2, 4)):
        told = [line.split() for line in part.splitlines()[1:]]
        best = sorted(range(p.shape[1]), key=lambda i: -p[place, i].item())[:10]
        assert told == [[f"{p[place, i]:.3f}", encoder.wordpiece.pieces[i]] for i in best]


def test_what_is_written_goes_on_with_the_text_as_the_seed_decides_and_fills_the_room_at_most(runs, capsys):
    told = [ask(capsys, runs / "gpt", "--write", "The  FILM was", "--seed", seed, *more)[1].strip()
            for seed, *more in (("1",), ("1",), ("2",), ("1", "--length", "3"), ("1", "--length", "900"))]
    assert all(text.startswith("the film was") for text in told)
    assert told[0] == told[1] != told[2]
    assert told[0].startswith(told[3]) and told[4].startswith(told[0]) and len(told[3]) < len(told[0]) < len(told[4])
    greedy = [ask(capsys, runs / "gpt", "--write", "the film", *more)[1]
              for more in (("--temperature", "0"), ("--top-k", "1", "--seed", "9"), ("--temperature", "1e-50"))]
    assert greedy[0] == greedy[1] == greedy[2]


def weights_by_loops(block, x):
    """softmax(q kᵀ / √d) of each head, one pair of tokens after the other: x (T, D) -> (H, T, T)."""
    (T, D), H = x.shape, block.num_heads
    d, (W_q, W_k, _), (b_q, b_k, _) = D // H, block.qkv.weight.split(D), block.qkv.bias.split(D)
    heads = []
    for i in range(H):
        rows = slice(i * d, (i + 1) * d)
        scores = [[sum(float((W_q[rows] @ x[s] + b_q[rows])[j] * (W_k[rows] @ x[t] + b_k[rows])[j]) for j in range(d))
                   / math.sqrt(d) for t in range(T)] for s in range(T)]
        heads.append([[math.exp(z) / sum(map(math.exp, row)) for z in row] for row in scores])
    return torch.tensor(heads)


def test_attention_is_that_of_each_head_in_the_block_and_beside_it_that_of_new_weights(tmp_path):
    run = load_run(make_bert(tmp_path / "bert", seed=1))
    encoder = load_encoder(run, torch.device("cpu"))
    new, own = attentions(run, "The film was dull.", 2, torch.device("cpu"))
    token_ids = torch.tensor([[2, *encoder.wordpiece.encode(["The film was dull."])[0].tolist(), 3]])
    assert own.tokens == new.tokens == [encoder.wordpiece.pieces[i] for i in token_ids[0]]
    with torch.no_grad():
        x = encoder.bert(token_ids)[1, 0]
        torch.testing.assert_close(own.weights, weights_by_loops(encoder.bert.blocks[1], x))
        _, _, v = encoder.bert.blocks[1].qkv(x).view(len(x), 3, 3, 6).permute(1, 2, 0, 3)
        attended = encoder.bert.blocks[1].self_attention(x.unsqueeze(0), None)[0]
        torch.testing.assert_close((own.weights @ v).transpose(0, 1).flatten(1), attended)
    assert not torch.allclose(new.weights, own.weights, atol=1e-3)
    assert new.name == "block 2, new weights" and own.name == f"block 2 of {run.path}"


def test_attention_of_a_gpt_is_that_under_its_mask(runs):
    run = load_run(runs / "gpt")
    encoder = load_encoder(run, torch.device("cpu"))
    maps = attentions(run, "The film was dull.", 2, torch.device("cpu"))
    token_ids = torch.tensor([[2, *encoder.wordpiece.encode(["The film was dull."])[0].tolist(), 3]])
    T = token_ids.shape[1]
    for each in maps:
        assert torch.equal(each.weights.triu(1), torch.zeros_like(each.weights))
    with torch.no_grad():
        block, x = encoder.bert.blocks[1], encoder.bert(token_ids)[1]
        _, _, v = block.qkv(x[0]).view(T, 3, block.num_heads, -1).permute(1, 2, 0, 3)
        attended = block.self_attention(x, torch.full((T, T), -1e9).triu(1))[0]
    torch.testing.assert_close((maps[1].weights @ v).transpose(0, 1).flatten(1), attended)


def test_attention_is_told_by_place_and_drawn_for_pretrained_and_finetuned_together(runs, capsys, tmp_path):
    pytest.importorskip("matplotlib")
    text, path = "a dull film, not a bold one.", tmp_path / "heads.png"
    code, out, err = ask(capsys, runs / "bert", runs / "cls", "--attention", text, "--layer", 1, "--out", path)
    assert code == 0 and err == "" and path.read_bytes().startswith(PNG)
    assert re.findall(r"(?m)^(block 1.*): mean weight on$", out) == [
        "block 1, new weights", f"block 1 of {runs / 'bert'}", f"block 1 of {runs / 'cls'}"]
    told = [[float(n) for n in row.split()] for row in re.findall(r"(?m)^  \d +((?:\d\.\d{3} *){5})$", out)]
    assert len(told) == 3 * 3
    weights = attentions(load_run(runs / "cls"), text, 1, torch.device("cpu"))[1].weights.tolist()
    for row, head in zip(told[6:], weights):
        T = len(head)
        expected = [sum(head[t][t] for t in range(T)) / T, sum(head[t][t - 1] for t in range(1, T)) / (T - 1),
                    sum(head[t][t + 1] for t in range(T - 1)) / (T - 1), sum(r[0] for r in head) / T,
                    sum(r[-1] for r in head) / T]
        assert row == pytest.approx(expected, abs=6e-4)


def test_a_map_has_its_weights_and_tokens():
    pytest.importorskip("matplotlib")
    maps = [("new $", ["[CLS]", "a$", "[SEP]"], torch.eye(3).repeat(2, 1, 1).tolist()),
            ("run", ["[CLS]", "[SEP]"], [[[0.25, 0.75], [0.5, 0.5]]])]
    figure = inspect.drawings().draw_attention(maps)
    drawn = figure.axes
    assert [ax.images[0].get_array().tolist() for ax in drawn] == [*maps[0][2], *maps[1][2]]
    assert [ax.get_title() for ax in drawn] == ["head 1", "head 2", "head 1"]
    assert [label.get_text() for label in drawn[0].get_yticklabels()] == ["[CLS]", r"a\$", "[SEP]"]


def test_the_mix_told_is_the_one_that_the_run_ended_with(runs, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, out, _ = ask(capsys, runs / "frozen", "--mix")
    results = json.loads((runs / "frozen" / "results.json").read_text())
    told = re.findall(r"(?m)^  (\d), (.*?) +(\d\.\d{3})  #+$", out)
    assert code == 0 and [name for _, name, _ in told] == ["LSTM layer 2", "LSTM layer 1", "character CNN"]
    assert [float(s) for _, _, s in reversed(told)] == pytest.approx(results["mix"], abs=5e-4)
    assert f"γ = {results['gamma']:.3f}" in out


def test_curves_are_drawn_of_runs_together_finished_or_not_and_with_a_torn_last_line(trained, runs, capsys, tmp_path):
    pytest.importorskip("matplotlib")
    argv = ["--curves", trained / "bilm", runs / "begun", runs / "frozen", "--out", tmp_path / "new" / "x.PNG"]
    code, out, err = ask(capsys, *argv)
    assert code == 0 and err == "" and (tmp_path / "new" / "x.PNG").read_bytes().startswith(PNG)
    assert f"{runs / 'begun'} (bert), 3 rows: loss 5 to 4, held_out_loss 4.5, learning_rate 0.1" in out
    assert re.search(r"bilm \(bilm\), \d+ rows: loss .* to .*, perplexity \d", out)
    assert re.search(r"frozen \(transfer\), 5 rows: .*validation_accuracy", out)


def test_a_row_that_tells_only_its_step_is_placed_by_the_tokens_per_step_around_it(runs):
    begun = read_history(str(runs / "begun"))
    assert begun.points("held_out_loss", "tokens") == ([3 * 50.0], [4.5])
    assert begun.points("loss", "tokens") == ([100.0, 500.0], [5.0, 4.0])
    rows = [{"step": 5, "loss": 3.0}, {"step": 10, "tokens": 70, "loss": None}, {"step": 20, "loss": "x"}]
    odd = History("odd", "bert", rows)
    assert odd.points("loss", "tokens") == ([35.0], [3.0]) and not odd.points("perplexity", "steps")[0]
    assert common_axis([begun, odd]) == "tokens" and common_axis([begun, History("", "", rows[:1])]) == "steps"


def test_without_matplotlib_there_is_text_and_for_curves_one_line(trained, runs, capsys, monkeypatch, tmp_path):
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.chdir(tmp_path)
    flags = ("--word", "bank", "--data-dir", trained / "data", "--offline")
    code, out, err = ask(capsys, trained / "bilm", *flags)
    assert code == 0 and "[bank]" in out and 'pip install -e ".[plot]"' in err and "picture" not in out
    assert ask(capsys, runs / "frozen", "--mix")[0] == 0
    for argv in ([runs / "bilm", "--senses", "seal"], [runs / "bert", "--attention", "a film"]):
        code, out, err = ask(capsys, *argv)
        assert code == 0 and err.count("\n") == 1 and 'pip install -e ".[plot]"' in err and "picture" not in out
    code, out, err = ask(capsys, "--curves", "no/such/run")
    assert (code, out) == (2, "") and 'pip install -e ".[plot]"' in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("run, flags, code, told", [
    ("bilm", "--word", 2, "expected one argument"),
    ("bilm", "", 2,
     "arguments --word --senses --fill --write --agreement --attention --mix --pmi --curves --runs is required"),
    ("bilm", "--word bank --mix", 2, "not allowed with"),
    ("bilm", "--wrod bank --word bank", 2, "did you mean --word?"),
    ("bilm", "--word river-bank", 2, "is 3 words to an encoder: river, -, bank"),
    ("bilm", "--word \u200b", 2, "is no word"),
    ("bilm", "--word bank --occurrences 1", 2, "outside 2 to 2,000"),
    ("bilm", "--word bank --layer 3", 2, "--layer 3 is outside 0 to 2"),
    ("bilm", "--word bank --out bank.pdf", 2, "does not end in .png"),
    ("bilm", "--word zyzzyva", 3, "'zyzzyva' stands in 0 lines of text of corpus sample"),
    ("bilm", "--word bank --corpus wikitext-2 --offline --data-dir nowhere", 7, "--offline forbids its download"),
    ("bilm", f"--word {'x' * 5000}", 3, "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' stands in 0 lines"),
    ("bilm", "--fill [MASK]", 4, "kind 'bilm', but one of kind 'bert' is needed"),
    ("bilm", "--mix", 4, "kind 'bilm', but one of kind 'transfer' is needed"),
    ("bilm", "--mix --layer 1", 2, "--layer has no meaning with --mix"),
    ("bilm", "--curves --offline", 2, "--offline has no meaning with --curves"),
    ("bert", f"--word {'x' * 101}", 2, "to which it is [UNK]"),
    ("bert", f"--word {'u' * 100}", 2, "is 100 pieces, and 67 are the most"),
    ("bilm", "--senses film", 2, "--senses: 'film' is not one of bank, bat"),
    ("bilm", "--senses bank --layer 1", 2, "--layer has no meaning with --senses"),
    ("bilm", "--senses bank --corpus sample", 2, "--corpus has no meaning with --senses"),
    ("static", "--senses bank", 4, "kind 'static', but --senses needs a contextual one"),
    ("begun", "--senses bank", 4, "has not finished"),
    ("bilm", "--attention film", 4, "holds no BERT"),
    ("static", "--attention film", 4, "holds no BERT"),
    ("frozen", "--attention film", 4, "holds no BERT"),
    ("begun", "--attention film", 4, "has not finished"),
    ("nowhere", "--attention film", 4, "there is no such directory"),
    ("bert", "--attention \u200b", 2, "the text is 0 pieces, and 1 to 38 can be drawn"),
    ("bert", f"--attention {'.' * 39}", 2, "the text is 39 pieces, and 1 to 38 can be drawn"),
    ("bert", "--attention film --layer 0", 2, "--layer 0 is outside 1 to 2, the blocks of this run"),
    ("bert", "--attention film --layer 3", 2, "--layer 3 is outside 1 to 2, the blocks of this run"),
    ("bert", "--attention film --occurrences 5", 2, "--occurrences has no meaning with --attention"),
    ("bert", "--attention film --out x.svg", 2, "does not end in .png"),
    ("bert", "--attention film --fill [MASK]", 2, "not allowed with"),
    ("bert", "--fill film", 2, "there is no [MASK] in the text"),
    ("bert", "--fill [MASK] --out x.png", 2, "draws no picture"),
    ("bert", "--fill " + "film" * 100 + "[MASK]" * 69, 2, "70 pieces, and this run was pretrained on up to 68"),
    ("bert", "--write film", 4, "kind 'bert', but one of kind 'gpt' is needed"),
    ("gpt", "--write film --out x.png", 2, "draws no picture"),
    ("gpt", "--write film --temperature -1", 2, "--temperature"),
    ("gpt", "--write " + "film," * 35, 2, "the text is 70 pieces, and this run was pretrained on 70"),
    ("gpt", "--fill [MASK] --seed 1", 2, "--seed has no meaning with --fill"),
    ("static", "--word bank", 4, "kind 'static', but --word needs a contextual one"),
    ("frozen", "--word bank", 4, "kind 'transfer', but --word needs a contextual one"),
    ("cls", "--mix", 4, "it has no mix"),
    ("begun", "--fill [MASK]", 4, "has not finished"),
    ("begun", "--word bank", 4, "has not finished"),
    ("static", "--curves", 4, "0 rows, and in none of them is there anything to draw"),
    ("nowhere", "--word bank", 4, "there is no such directory"),
    ("nowhere", "--curves", 4, "there is no such directory"),
    ("stranger", "--word bank", 4, "'my own', which is no corpus known here"),
])  # fmt: skip
def test_what_cannot_be_looked_into_is_one_line(runs, capsys, monkeypatch, tmp_path, run, flags, code, told):
    if "--curves" in flags:
        pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    found, out, err = ask(capsys, runs / run, *flags.split(" ")[: None if flags else 0])
    assert (found, out) == (code, "") and told in err.splitlines()[-1] and ". Fix: " in err.splitlines()[-1]
    assert not list(tmp_path.rglob("*.png"))


def test_too_many_runs_and_a_picture_that_cannot_be_written_are_one_line(runs, capsys, tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "x.png").mkdir()
    (tmp_path / "file").write_text("")
    for argv, told in [(["--curves", *["r"] * 8], "looks into 7 runs at most, and 8 are given"),
                       (["a", "b", "--mix"], "looks into 1 run at most"),
                       (["a", "b", "--senses", "bank"], "looks into 1 run at most"),
                       ([*"abcd", "--attention", "x"], "looks into 3 runs at most, and 4 are given"),
                       ([runs / "frozen", "--mix", "--out", tmp_path / "x.png"], "is a directory"),
                       ([runs / "frozen", "--mix", "--out", tmp_path / "file" / "x.png"], "is a file"),
                       ([runs / "frozen", "--mix", "--out", tmp_path / ("x" * 300 + ".png")], "name too long")]:
        code, _, err = ask(capsys, *argv)
        assert code == 2 and told in err


def test_letters_that_mean_something_to_matplotlib_are_drawn_as_they_are(tmp_path):
    pytest.importorskip("matplotlib")
    title, contexts = "_$x^ \\frac{ \x1b \u4e2d " + "long " * 50, ["costs $5 [bank] and $", "\\alpha_ [bank] ^"]
    figure = inspect.drawings().draw_occurrences([[0.0, 1.0], [2.0, 0.5]], [0.75, 0.25], [0, 1], contexts, title)
    inspect.save(figure, tmp_path / "a.png")
    panels = {"loss, nats": [(0, "training", [1.0, 2.0], [3.0, math.nan]), (1, "held out", [1.0], [2.0])]}
    inspect.save(inspect.drawings().draw_curves(panels, ["_hidden $", title], "steps"), tmp_path / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_help_and_typos_are_answered_without_torch():
    program = ("import sys; from pretrain.inspect import __main__ as i\n"
               "from minitransfer.apparatus.commands import run_command\n"
               "codes = [run_command(i.main, i.Settings, a.split()) for a in ('--help', 'r --wrod x', "
               "'r --word a-b', 'r --mix --layer 1', 'r --fill x')]\n"
               "print(codes, 'torch' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.endswith("[0, 2, 2, 2, 2] False\n") and "examples:" in done.stdout


def test_runs_stand_side_by_side_in_what_differs_and_what_came_of_it(runs, capsys):
    names = [str(runs / name) for name in ("frozen", "cls", "begun", "bilm")]
    assert run_command(inspect.main, inspect.Settings, ["--runs", *names]) == 0
    head, *told = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    table = {cells[0]: [cell.strip() for cell in cells[1:] if cell.strip()] for cells in told}
    assert head[0] == "run" and all(len(row) == 4 for row in table.values())
    assert table["kind"] == ["transfer", "transfer", "bert", "bilm"]
    assert table["model.head"][:2] == ["mean", "cls"] and table["finished"] == ["-", "-", "no", "-"]
    results = [json.loads((runs / name / "results.json").read_text()) for name in ("frozen", "cls")]
    assert table["test_accuracy"] == [*(f"{told['test_accuracy']:.4g}" for told in results), "-", "-"]
    assert table["minutes"][:2] == [f"{round(told['seconds'] / 60, 1):.4g}" for told in results]
    assert table["step"][2] == "9" and not any(name.startswith(("environment", "encoder.")) for name in table)


def test_what_is_the_same_in_all_runs_is_no_row_and_results_always_are(runs):
    rows = compare_runs([str(runs / "frozen")] * 2)
    assert "model.head" not in rows and "kind" not in rows and rows["test_accuracy"][0] == rows["test_accuracy"][1]


@pytest.mark.parametrize("flags, code, told", [
    (["--runs", "{}/frozen", "{}/nowhere"], 4, "no such directory"),
    (["--runs", *["{}/bilm"] * 8], 2, "--runs looks into 7 runs at most, and 8 are given"),
    (["--runs", "{}/bilm", "--out", "a.png"], 2, "--out has no meaning with --runs"),
    (["--runs", "{}/bilm", "--layer", "1"], 2, "--layer has no meaning with --runs"),
    (["--runs", "--mix", "{}/bilm"], 2, "not allowed with"),
    (["--runs"], 2, "required: RUN"),
])  # fmt: skip
def test_runs_that_cannot_stand_side_by_side_are_refused(runs, capsys, flags, code, told):
    assert run_command(inspect.main, inspect.Settings, [flag.format(runs) for flag in flags]) == code
    assert told in capsys.readouterr().err.splitlines()[-1]
