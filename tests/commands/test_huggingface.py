"""Claims about moving a BERT to the transformers library and from there: nothing of what it computes is changed.

What that library itself makes of it is asked at the end, and skipped where it is not installed.
"""

import dataclasses
import json
import os
import re
import textwrap

import numpy as np
import pytest
import safetensors.torch
import torch
from encoder_runs import make_gpt, save_run
from huggingface_folders import (
    CPU,
    PIECES,
    SHAPE,
    imported,
    make_runs,
    run,
    stirred,
    their_weights,
)
from torch.nn import functional as F

from finetune.imdb import __main__ as imdb
from minitransfer.apparatus.checkpoint import load_run
from minitransfer.apparatus.commands import run_command
from minitransfer.apparatus.errors import UsageError
from minitransfer.bert.encoder import BertConfig, MaskedLM
from minitransfer.gpt.causal import CausalLM
from minitransfer.gpt.writing import NEVER, write
from minitransfer.huggingface import exchange as huggingface
from minitransfer.huggingface.names import SMALL, linear_through_tanh
from minitransfer.text import CLASSES, corpora
from minitransfer.text.sample import reviews
from minitransfer.text.wordpiece import MASK_ID, SPECIAL_PIECES, WordPiece
from minitransfer.transfer import classifier
from minitransfer.transfer.classifier import load_classifier
from minitransfer.transfer.examples import logits_of
from minitransfer.transfer.examples import predict as probabilities
from minitransfer.transfer.loading import load_encoder, load_with_head
from pretrain.inspect import __main__ as inspect
from pretrain.inspect.filling import ask, guesses

TEXTS = [
    "A marvellous film, and witty.", "Café, naïve, ÉTÉ: déjà vu!", "電影 is 電影", "İstanbul, ǅ, ﬁne, Straße", "",
    "the [MASK] film [SEP] [CLS] [PAD][UNK] ends", "tab\tline\nfeed\u00a0\u200b\x00\ufffd", "x" * 101, "don't 🎬",
]  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return make_runs(tmp_path_factory.mktemp("runs"))


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_exported_and_imported_again_a_run_has_the_same_bits(runs, tmp_path):
    assert run("import", runs / "bert-folder", tmp_path / "back") == 0
    before, after = load_run(runs / "bert"), load_run(tmp_path / "back")
    assert same(before.tensors, after.tensors) and before.files == after.files
    assert all(before.config[name] == after.config[name] for name in ("kind", "model", "training"))


def test_exported_weights_have_the_names_and_parts_that_they_have_there(runs):
    ours = load_run(runs / "bert").tensors
    theirs = safetensors.torch.load_file(runs / "bert-folder" / "model.safetensors")
    like = their_weights(segments=1)
    assert theirs.keys() == {name for name in like if "pooler" not in name and "seq_relationship" not in name}
    for k in range(2):
        for i, name in enumerate(("query", "key", "value")):
            for kind in ("weight", "bias"):
                rows = ours[f"bert.blocks.{k}.qkv.{kind}"][18 * i : 18 * (i + 1)]
                assert torch.equal(theirs[f"bert.encoder.layer.{k}.attention.self.{name}.{kind}"], rows)
    assert sum(t.numel() for t in theirs.values()) == sum(t.numel() for t in ours.values())


def test_a_linear_head_goes_through_tanh_without_losing_a_bit():
    """W h + b = (2ᵏ W) tanh(2⁻ᵏ h) + b"""
    torch.manual_seed(0)
    N, D, B = 3, 37, 501
    W, b, gamma, beta = torch.randn(N, D), torch.randn(N), 4 * torch.randn(D), 7 * torch.randn(D)
    x = torch.randn(B, D)
    x[:D] += 1e6 * torch.eye(D)  # one unit far above the others is the most that a LayerNorm lets through
    h = F.layer_norm(x, (D,), gamma, beta, 1e-12)
    theirs = linear_through_tanh(W, b, gamma, beta)
    z = F.linear(h, theirs["bert.pooler.dense.weight"], theirs["bert.pooler.dense.bias"])
    assert 2.0 ** -(SMALL + 2) < z.abs().max() <= 2.0**-SMALL
    assert torch.equal(F.linear(z.tanh(), theirs["classifier.weight"], theirs["classifier.bias"]), F.linear(h, W, b))


def test_tanh_is_the_identity_where_states_are_kept():
    z = torch.linspace(-(2.0**-SMALL), 2.0**-SMALL, 100_001)
    assert torch.equal(z.tanh(), z)


@pytest.mark.parametrize("changes", [
    {}, {"weight": "gamma", "bias": "beta"}, {"prefix": ""}, {"segments": 1}, {"segments": 3},
])  # fmt: skip
def test_a_foreign_bert_keeps_each_number_under_whichever_name(tmp_path, changes):
    theirs, prefix = their_weights(**changes), changes.get("prefix", "bert.")
    theirs["cls.predictions.decoder.weight"] = theirs[f"{prefix}embeddings.word_embeddings.weight"].clone()
    theirs[f"{prefix}embeddings.position_ids"] = torch.arange(9)[None]
    found = imported(tmp_path, tensors=theirs).tensors
    assert found.keys() == MaskedLM(BertConfig(11, 6, 2, 3, 5, 9)).state_dict().keys()
    norm = f"{prefix}encoder.layer.1.output.LayerNorm.{changes.get('weight', 'weight')}"
    assert torch.equal(found["bert.blocks.1.norm.weight"], theirs[norm])
    segment = theirs[f"{prefix}embeddings.token_type_embeddings.weight"]
    assert torch.equal(found["bert.embeddings.segment.weight"], segment[:1])
    kept = sum(t.numel() for name, t in theirs.items()
               if not re.search("pooler|seq_relationship|decoder|position_ids|token_type", name))
    assert sum(t.numel() for t in found.values()) == kept + 6


def test_a_piece_keeps_its_embedding_whatever_its_id_was(tmp_path):
    """Special pieces come first here, so rows move, and each piece takes its own along."""
    found, theirs = imported(tmp_path), their_weights()
    pieces = WordPiece.from_json(found.text("tokenizer.json")).pieces
    assert sorted(pieces) == sorted(PIECES) and tuple(pieces[:5]) == SPECIAL_PIECES
    for here, piece in enumerate(pieces):
        there = PIECES.index(piece)
        row = theirs["bert.embeddings.word_embeddings.weight"][there]
        assert torch.equal(found.tensors["bert.embeddings.tokens.weight"][here], row)
        assert found.tensors["bias"][here] == theirs["cls.predictions.bias"][there]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_any_precision_become_float32(tmp_path, dtype):
    theirs = {name: t.to(dtype) for name, t in their_weights().items()}
    found = imported(tmp_path, tensors=theirs).tensors
    assert all(t.dtype == torch.float32 for t in found.values())
    assert torch.equal(found["dense.weight"], theirs["cls.predictions.transform.dense.weight"].float())


def test_a_tokenizer_json_is_read_like_a_vocab_txt(tmp_path):
    found = json.loads(WordPiece([*SPECIAL_PIECES, "film"]).to_json())
    found["model"]["vocab"] = {piece: i for i, piece in enumerate(PIECES)}
    found["truncation"] = {"max_length": 7}
    del found["model"]["type"]  # as older files have it
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    from_json = imported(tmp_path / "a", vocab=None, tokenizer_json=found)
    from_lines = imported(tmp_path / "b", vocab="\r\n".join(PIECES))
    assert same(from_json.tensors, from_lines.tensors) and from_json.files == from_lines.files


@pytest.mark.parametrize("said, kept", [(7, 7), (512, 9), (10**30, 9), (1, 9), (None, 9), ("7", 9), (True, 9)])
def test_as_many_tokens_are_read_of_a_text_as_its_tokenizer_says_and_positions_there_are(tmp_path, said, kept):
    found = imported(tmp_path, tokenizer_config_json={"model_max_length": said, "do_lower_case": True})
    assert load_encoder(found, CPU).max_tokens == kept


@pytest.mark.parametrize("mode", ["frozen", "finetune"])
@pytest.mark.parametrize("head", [True, False])
def test_what_was_imported_can_be_transferred(tmp_path, monkeypatch, capsys, mode, head):
    imported(tmp_path, tensors=their_weights(head=head))
    assert ("encoder alone" in capsys.readouterr().err) is not head
    whole = corpora.load_reviews("sample", tmp_path, offline=True)
    few = dataclasses.replace(whole, test_texts=whole.test_texts[::40], test_labels=whole.test_labels[::40])
    monkeypatch.setattr(corpora, "load_reviews", lambda *a, **k: few)
    argv = ["--data", "sample", "--encoder", tmp_path / "run", "--out", tmp_path / "out", "--labels", 20, "--epochs",
            1, "--mode", mode, "--head", "cls"]
    assert run_command(imdb.main, imdb.Settings, [str(word) for word in argv]) == 0
    assert json.loads((tmp_path / "out" / "results.json").read_text())["encoder_corpus"] == "elsewhere (folder)"
    assert run("export", tmp_path / "out", tmp_path / "exported") == 0


def test_a_run_without_class_names_has_those_that_predictions_give_it():
    assert huggingface.load_classifier is classifier.load_classifier and classifier.classes_of({}) == CLASSES


def blocks(folder):
    """The Python of a folder's card, block by block."""
    card = (folder / "README.md").read_text(encoding="utf-8")
    return [textwrap.dedent(block) for block in re.findall(r"```python\n(.*?)```", card, re.DOTALL)]


def test_the_card_names_model_corpus_and_lengths(runs):
    card, of_classifier = (" ".join((runs / name / "README.md").read_text(encoding="utf-8").split())
                           for name in ("bert-folder", "classifier-folder"))
    numbers = [f"{sum(t.numel() for t in safetensors.torch.load_file(runs / name / 'model.safetensors').values()):,}"
               for name in ("bert-folder", "classifier-folder")]
    assert f"{numbers[0]} parameters, 300 uncased" in card and f"{numbers[1]} parameters, 300" in of_classifier
    assert "pretrained on sample" in card and "at most 64 pieces" in card and "up to 70 pieces" in card
    assert "negative, positive" in of_classifier and "the first 29 and the last 29 pieces" in of_classifier


def make_three_classes(path, classifier, classes):
    """A classifier of three classes, with these names in its config."""
    whole = load_run(classifier)
    generator = torch.Generator().manual_seed(13)
    W, b = torch.randn(3, 18, generator=generator), torch.randn(3, generator=generator)
    tensors = {**whole.tensors, "head.W.weight": W, "head.W.bias": b}
    return save_run(path, {**whole.config, "classes": classes}, tensors, whole.files)


def test_classes_keep_their_names_and_order(runs, tmp_path):
    names = ["neutral", "良い", "a $bad$\nname"]
    make_three_classes(tmp_path / "three", runs / "classifier", names)
    assert run("export", tmp_path / "three", tmp_path / "folder") == 0
    config = json.loads((tmp_path / "folder" / "config.json").read_text(encoding="utf-8"))
    assert config["id2label"] == dict(zip("012", names)) and config["label2id"] == {n: i for i, n in enumerate(names)}
    assert "# BertForSequenceClassification: neutral, 良い, a $bad$ name\n" in (
        tmp_path / "folder" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("classes, told", [(["a", "b"], "(3, 18) instead of (2, 18)"), ("abc", "not a list of names"),
                                           (["a", "b", 3], "not a list of names"), (None, "not a list of names")])
def test_classes_that_do_not_fit_the_head_are_refused(runs, tmp_path, capsys, classes, told):
    make_three_classes(tmp_path / "three", runs / "classifier", classes)
    assert run("export", tmp_path / "three", tmp_path / "folder") == 4
    assert told in capsys.readouterr().err and not (tmp_path / "folder").exists()


@pytest.fixture(scope="module")
def transformers():
    os.environ["HF_HUB_OFFLINE"] = "1"
    return pytest.importorskip("transformers")


def loaded(kind, folder):
    """A model of that library, of which it says that nothing was missing and nothing left over."""
    model, told = kind.from_pretrained(folder, output_loading_info=True)
    assert not any(told.values())
    return model.eval()


def ids_of(bert_run, texts):
    wordpiece = WordPiece.from_json(load_run(bert_run).text("tokenizer.json"))
    return [[2, *token_ids.tolist(), 3] for token_ids in wordpiece.encode(texts)]


def test_there_a_text_is_cut_into_the_same_ids(transformers, runs):
    for name in ("bert-folder", "classifier-folder"):
        tokenizer = transformers.AutoTokenizer.from_pretrained(runs / name)
        plain = [text for text in TEXTS if "[MASK]" not in text]
        assert tokenizer(plain)["input_ids"] == ids_of(runs / "bert", plain)
        tokenizer = transformers.AutoTokenizer.from_pretrained(runs / name, split_special_tokens=True)
        assert tokenizer(TEXTS)["input_ids"] == ids_of(runs / "bert", TEXTS)
        assert [tokenizer(text)["input_ids"] for text in TEXTS] == ids_of(runs / "bert", TEXTS)
        assert tokenizer.model_max_length == {"bert-folder": 64, "classifier-folder": 60}[name]
    padded = tokenizer(["film", ""], padding=True, return_tensors="pt")
    assert padded.keys() == {"input_ids", "attention_mask"} and padded["input_ids"][1].tolist()[:2] == [2, 3]


def test_there_a_mask_is_a_gap_to_a_language_model_and_text_to_a_classifier(transformers, runs):
    for name, masks in (("bert-folder", 1), ("classifier-folder", 0)):
        tokenizer = transformers.AutoTokenizer.from_pretrained(runs / name)
        assert tokenizer("the [MASK] film")["input_ids"].count(tokenizer.mask_token_id) == masks


def texts_of_all_lengths():
    """Forty texts of the built-in reviews, from none to 95 words, most of them short; case and accents among them."""
    words = " ".join(text for text, _ in reviews()[1][:9]).replace("film", "FÍLM").split()
    return [" ".join(words[n : n + n * n // 16]) for n in range(40)]


def test_there_masks_are_filled_as_inspect_fills_them(transformers, runs):
    fill = transformers.pipeline("fill-mask", str(runs / "bert-folder"), top_k=10)
    model, encoder = load_with_head(load_run(runs / "bert"), CPU)
    lengths = []
    for text in texts_of_all_lengths():
        words = text.split()
        text = " ".join([*words[: len(words) // 3], "[MASK],", *words[len(words) // 3 :]])
        before, after = (ids.tolist() for ids in encoder.wordpiece.encode(text.split("[MASK]")))
        body = [2, *before, 4, *after]
        lengths.append(len(body) + 1)
        if lengths[-1] <= 64:
            question, theirs = ask(text, encoder.wordpiece, 64), fill(text)
        else:  # refused here; the pipeline takes the beginning, if it is told to
            with pytest.raises(UsageError, match="pretrained on up to 62"):
                ask(text, encoder.wordpiece, 64)
            if lengths[-1] > 70:
                with pytest.raises(Exception, match=r"\b70\b|index out of range"):
                    fill(text)
            question = np.array([*body[:63], 3])
            if MASK_ID not in question:
                continue
            theirs = fill(text, tokenizer_kwargs={"truncation": True})
        ours = guesses(model, question, 10)[0]
        assert [row["token"] for row in theirs] == [token_id for token_id, _ in ours]
        assert [row["score"] for row in theirs] == pytest.approx([p for _, p in ours], abs=1e-6)
    assert sum(n <= 64 for n in lengths) >= 15 and sum(n > 70 for n in lengths) >= 15


def answers(model, texts):
    """The likeliest class of each text and its probability, as `finetune.predict` finds them."""
    p = probabilities(model, model.encoder.tokenise(texts, 60))
    return [("negative", "positive")[i] for i in p.argmax(dim=1).tolist()], p.amax(dim=1).tolist()


def test_there_texts_are_classified_as_predict_classifies_them(transformers, runs, monkeypatch):
    """Those of at most `model_max_length` pieces by the pipeline itself; all of them by the lines of the card."""
    monkeypatch.chdir(runs)
    model, texts = load_classifier(load_run(runs / "classifier"), CPU), texts_of_all_lengths()
    lengths = [len(ids) for ids in ids_of(runs / "bert", texts)]
    labels, scores = answers(model, texts)
    names = {}
    for block in blocks(runs / "classifier-folder"):
        exec(block, names)
    by_card = [names["classify_head_and_tail"](text) for text in texts]
    assert [row["label"] for row in by_card] == labels
    assert [row["score"] for row in by_card] == pytest.approx(scores, abs=1e-5)
    by_pipeline = names["classify"](texts)
    assert [row["label"] for row, n in zip(by_pipeline, lengths) if n <= 60] == [
        label for label, n in zip(labels, lengths) if n <= 60]
    assert [row["score"] for row, n in zip(by_pipeline, lengths) if n <= 60] == pytest.approx(
        [score for score, n in zip(scores, lengths) if n <= 60], abs=1e-5)
    assert sum(n <= 60 for n in lengths) >= 15 and sum(n > 60 for n in lengths) >= 15


def test_there_a_longer_text_loses_its_end_and_without_truncation_is_an_error(transformers, runs):
    model, text = load_classifier(load_run(runs / "classifier"), CPU), texts_of_all_lengths()[-1]
    head = [2, *ids_of(runs / "bert", [text])[0][1:59], 3]
    with torch.no_grad():
        token_ids = torch.tensor([head])
        logits = model.head(model.encoder.bert(token_ids)[-1, :, 0])
    classify = transformers.pipeline("text-classification", str(runs / "classifier-folder"), top_k=None)
    cut = {row["label"]: row["score"] for row in classify([text], truncation=True)[0]}
    assert [cut["negative"], cut["positive"]] == pytest.approx(logits.softmax(dim=1)[0].tolist(), abs=1e-5)
    with pytest.raises(Exception, match=r"\b70\b|index out of range"):
        classify(text)


def test_there_the_cards_lines_run(transformers, runs, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    for name in ("bert-folder", "classifier-folder"):
        exec(blocks(runs / name)[0], {})
    shown = capsys.readouterr().out
    assert "'token_str'" in shown and ("'negative'" in shown or "'positive'" in shown)


def test_there_a_classifier_of_three_classes_names_them(transformers, runs, tmp_path):
    make_three_classes(tmp_path / "three", runs / "classifier", ["neutral", "good", "bad"])
    assert run("export", tmp_path / "three", tmp_path / "folder") == 0
    whole, encoder = load_run(tmp_path / "three"), load_classifier(load_run(runs / "classifier"), CPU).encoder
    classify = transformers.pipeline("text-classification", str(tmp_path / "folder"), top_k=None)
    text = texts_of_all_lengths()[9]
    with torch.no_grad():
        state = encoder.bert(torch.tensor(ids_of(runs / "bert", [text])))[-1, 0, 0]
    logits = whole.tensors["head.W.weight"] @ state + whole.tensors["head.W.bias"]
    by_name = {row["label"]: row["score"] for row in classify([text])[0]}
    assert [by_name[name] for name in ("neutral", "good", "bad")] == pytest.approx(logits.softmax(0).tolist(), abs=1e-5)


def test_there_a_language_model_has_the_same_logits(transformers, runs):
    theirs = loaded(transformers.BertForMaskedLM, runs / "bert-folder")
    whole = load_run(runs / "bert")
    ours = MaskedLM(BertConfig.from_dict(whole.config["model"])).eval()
    ours.load_state_dict(whole.tensors)
    tokenizer = transformers.AutoTokenizer.from_pretrained(runs / "bert-folder")
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    mask = batch["attention_mask"].bool()
    with torch.no_grad():
        assert torch.allclose(ours(batch["input_ids"], mask)[mask], theirs(**batch).logits[mask], atol=2e-5)


def test_there_a_gpt_has_the_same_logits_writes_the_same_and_comes_back_with_the_same_bits(transformers, tmp_path):
    new = load_run(make_gpt(tmp_path / "new"))
    whole = load_run(save_run(tmp_path / "gpt", {**new.config, "training": {"seq_length": 64}}, stirred(new.tensors),
                              new.files))
    assert run("export", tmp_path / "gpt", tmp_path / "folder") == 0
    theirs = loaded(transformers.AutoModelForCausalLM, tmp_path / "folder")
    ours = CausalLM(BertConfig.from_dict(whole.config["model"])).eval()
    ours.load_state_dict(whole.tensors)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "folder")
    batch = tokenizer("the film was", return_tensors="pt")
    ids = batch["input_ids"][0].tolist()
    assert type(theirs) is transformers.BertLMHeadModel and ids[0] == 2 and ids[-1] != 3
    with torch.no_grad():
        assert torch.allclose(ours(batch["input_ids"]), theirs(**batch).logits, atol=2e-5)
        written = theirs.generate(**batch, max_new_tokens=9, do_sample=False, suppress_tokens=list(NEVER))[0].tolist()
    found = write(ours, ids, 9, temperature=0, top_k=1, generator=torch.Generator())
    assert written[: len(ids) + len(found)] == ids + found and (len(found) == 9 or written[len(ids) + len(found)] == 3)
    assert run("import", tmp_path / "folder", tmp_path / "back") == 0
    back = load_run(tmp_path / "back")
    assert back.kind == "gpt" and same(back.tensors, whole.tensors) and back.files == whole.files


def letters(text: str) -> str:
    """What pieces have in common, however they were put together."""
    return text.replace("##", "").replace(" ", "")


def test_there_the_lines_of_a_gpts_card_write_what_inspect_writes(transformers, tmp_path, monkeypatch, capsys):
    new = load_run(make_gpt(tmp_path / "new"))
    save_run(tmp_path / "gpt", {**new.config, "training": {"seq_length": 64}}, stirred(new.tensors), new.files)
    monkeypatch.chdir(tmp_path)
    assert run("export", tmp_path / "gpt", tmp_path / "folder") == 0
    names = {}
    exec(blocks(tmp_path / "folder")[0], names)
    assert "the film was" in capsys.readouterr().out
    for text in ("the film was", "a film, a [MASK] and [SEP] ."):
        given = ("--write", text, "--temperature", "0", "--length", "9")
        assert run_command(inspect.main, inspect.Settings, [str(tmp_path / "gpt"), *given]) == 0
        written = capsys.readouterr().out.strip().replace("[UNK] ", "").replace(" ,", ",").replace(" .", ".")
        assert names["go_on"](text, do_sample=False, max_new_tokens=9) == written
    go_on = transformers.pipeline("text-generation", str(tmp_path / "folder"))
    [answer] = go_on("the film was", do_sample=False, max_new_tokens=9, suppress_tokens=list(NEVER))
    by_card, by_pipeline = names["go_on"]("the film was", do_sample=False, max_new_tokens=9), answer["generated_text"]
    assert letters(by_pipeline) == letters(by_card)  # for that of transformers 5 decodes what it wrote by itself


def test_there_a_classifier_has_the_same_logits_and_names_its_labels(transformers, runs):
    theirs = loaded(transformers.AutoModelForSequenceClassification, runs / "classifier-folder")
    model = load_classifier(load_run(runs / "classifier"), CPU)
    ours = logits_of(model, model.encoder.tokenise(TEXTS, 120))
    batch = transformers.AutoTokenizer.from_pretrained(runs / "classifier-folder")(
        TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        assert torch.allclose(ours, theirs(**batch).logits, atol=2e-5)
    assert theirs.config.id2label == {0: "negative", 1: "positive"}


@pytest.mark.parametrize("kind", ["ForPreTraining", "ForMaskedLM", "Model", "ForSequenceClassification"])
def test_what_was_saved_there_computes_the_same_here(transformers, tmp_path, kind):
    shape = transformers.BertConfig(**SHAPE, type_vocab_size=2)
    theirs = getattr(transformers, f"Bert{kind}")(shape).eval()
    theirs.load_state_dict(stirred(theirs.state_dict()), strict=False)
    theirs.save_pretrained(tmp_path / "folder")
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES) + "\n")
    tokenizer = transformers.BertTokenizer.from_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path / "folder")
    assert run("import", tmp_path / "folder", tmp_path / "run") == 0
    encoder, text = load_encoder(load_run(tmp_path / "run"), CPU), "The films. A film"
    token_ids = torch.tensor(ids_of(tmp_path / "run", [text]))
    with torch.no_grad():
        body = getattr(theirs, "bert", theirs)
        expected = body(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states
        assert torch.allclose(encoder.bert(token_ids), torch.stack(expected), atol=2e-5)
