"""Claims about flags: what is refused, how it is told, and with which exit code.

A mistyped flag must be answered with the flag that was meant, quickly, and nothing that a user can cause may end in a
traceback. The exit codes are those of the list in docs/trust.md, written out again here by hand.
"""

import argparse
import errno
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from minitransfer.apparatus import calling, commands, errors, options
from minitransfer.apparatus.settings import RunSettings, SavingSettings, SeedSettings, flag, make_parser, out_flag

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Settings(SavingSettings, SeedSettings, RunSettings):
    prog = "python -m pretrain.bilm"
    description = "Two lines,\n    laid out by hand."
    epochs: int = flag("passes over the corpus", options.positive_int, default=3)
    learning_rate: float = flag("at its highest", options.step_size, default=1e-3)
    mode: str = flag("how much learns", choices=("frozen", "finetune", "gradual"), default="frozen")
    out: str = out_flag("runs/bilm")


def refusal(capsys, *argv: str) -> str:
    """The one error line that these flags are answered with."""
    assert commands.run_command(lambda arguments: pytest.fail("main was reached"), Settings, argv) == 2
    captured = capsys.readouterr()
    usage, _, error = captured.err.partition("error: ")
    assert usage.startswith("usage: ") and captured.out == ""
    assert error.count("\n") == 1 and ". Fix: " in error
    return error


@pytest.mark.skipif(os.name == "nt", reason="this system deletes no directory that is in use")
def test_a_directory_that_is_gone_is_named_and_not_taken_for_a_broken_torch(tmp_path):
    gone = "import os, runpy, sys; os.rmdir(os.getcwd()); sys.argv = ['x', '--corpus', 'sample']; "
    code = gone + "runpy.run_module('pretrain.static', run_name='__main__')"
    (tmp_path / "gone").mkdir()
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path / "gone", capture_output=True, text=True,
                          timeout=60, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 2 and done.stderr.splitlines() == [
        "error: the directory that you are in is gone. Fix: change to another."]


def run_python(code: str, **settings) -> subprocess.CompletedProcess:
    """Run a program in a new Python that can import this project."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, **settings)


def test_a_misspelt_flag_is_answered_with_the_nearest_one(capsys):
    assert "'--epcohs'" in (error := refusal(capsys, "--epcohs", "3")) and "did you mean --epochs?" in error
    assert "did you mean --learning-rate?" in refusal(capsys, "--learning_rate=0.1")


def test_a_flag_like_no_other_is_answered_with_where_they_are_listed(capsys):
    assert "`python -m pretrain.bilm --help` lists every flag" in refusal(capsys, "--zzzzz")
    assert "'stray'" in refusal(capsys, "stray")


def test_abbreviated_flags_are_refused(capsys):
    assert "did you mean --epochs?" in refusal(capsys, "--epoch", "3")


def test_a_wrong_choice_is_answered_with_all_choices_and_the_nearest(capsys):
    error = refusal(capsys, "--mode", "frzen")
    assert error == "--mode: 'frzen' is not one of frozen, finetune, gradual. Fix: did you mean frozen?\n"
    assert "choose one of these" in refusal(capsys, "--device", "quantum")


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "", "three", "nan", "99999999999999999999", "1e3"])
def test_a_count_out_of_range_names_flag_range_and_value(capsys, text):
    error = refusal(capsys, "--epochs", text)
    assert error.startswith(f"--epochs: must be a whole number from 1 to 2147483647, not {text!r}. Fix: ")


@pytest.mark.parametrize("text", ["0", "-1", "-1e-3", "-.5", "-inf", "inf", "nan", "-nan", "1e39", "1e999", "x", ""])
def test_a_rate_out_of_range_names_flag_range_and_value(capsys, text):
    error = refusal(capsys, "--learning-rate", text)
    assert error.startswith(f"--learning-rate: must be a number above 0 and at most 1e38, not {text!r}. Fix: ")


@pytest.mark.parametrize(
    ("parse", "accepted", "refused"),
    [
        (options.positive_int, ["1", "2147483647"], ["0", "2147483648", "-1", "1.0"]),
        (options.non_negative_int, ["0", "17"], ["-1", "0.5", "inf"]),
        (options.positive_float, ["1e-300", "5", "1e300"], ["0", "-0.0", "1e-999", "inf"]),
        (options.step_size, ["1e-300", "5", "1e38"], ["0", "1e39", "nan"]),
        (options.non_negative_float, ["0", "0.01"], ["-1e-9", "inf", "nan"]),
        (options.probability, ["0", "0.999"], ["1", "-0.1", "nan"]),
        (options.fraction, ["0.001", "0.999"], ["0", "1", "nan", "-inf"]),
    ],
)
def test_each_type_takes_its_range_up_to_the_corners_and_no_more(parse, accepted, refused):
    assert [parse(text) for text in accepted] == [float(text) for text in accepted]
    for text in refused:
        with pytest.raises(argparse.ArgumentTypeError, match="must be"):
            parse(text)


def test_an_empty_directory_name_is_refused(capsys):
    assert "must name a directory" in refusal(capsys, "--out", "")


def test_missing_values_and_missing_flags_come_with_a_remedy(capsys):
    assert refusal(capsys, "--epochs").startswith("--epochs: expected one argument. Fix: ")


def test_shared_flags_have_the_promised_defaults():
    settings = Settings.parse_args([])
    assert (settings.data_dir, settings.offline, settings.seed, settings.device) == (None, False, 0, "auto")
    assert (settings.threads, settings.out, settings.resume, settings.log_every) == (None, "runs/bilm", False, 10)


def test_help_keeps_the_layout_and_shows_defaults_but_no_empty_ones(capsys):
    assert commands.run_command(lambda arguments: None, Settings, ["--help"]) == 0
    text = capsys.readouterr().out
    assert "Two lines,\n    laid out by hand." in text and "(default: 3)" in text and "(default: runs/bilm)" in text
    assert "None" not in text and "False" not in text


@pytest.mark.parametrize(
    ("name", "code"),
    [("UsageError", 2), ("DataError", 3), ("CheckpointError", 4), ("NumericsError", 5), ("ResourceError", 6),
     ("NetworkError", 7)],
)
def test_each_failure_of_ours_is_one_line_and_its_exit_code(capsys, name, code):
    def main(arguments):
        raise getattr(errors, name)("the milk is sour", "buy milk")

    assert commands.run_command(main, Settings, []) == code
    assert capsys.readouterr().err == "error: the milk is sour. Fix: buy milk.\n"


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (KeyboardInterrupt(), 130),
        (MemoryError(), 6),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB"), 6),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), 6),
        (OSError(errno.ENOSPC, "No space left on device", "runs/x"), 6),
        (OSError(errno.EROFS, "Read-only file system", "runs/x"), 6),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "runs/x"), 6),
        (PermissionError(errno.EACCES, "Permission denied", "runs/x"), 6),
        (OSError(errno.ENAMETOOLONG, "File name too long", "runs/" + 300 * "x"), 2),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 141),
    ],
)
def test_failures_of_the_machine_show_no_traceback(capsys, failure, code):
    def main(arguments):
        raise failure

    assert commands.run_command(main, Settings, []) == code
    told = capsys.readouterr().err
    assert "Traceback" not in told and told.count("\n") == (code != 141)
    assert ("Fix: " in told) == (code in (2, 6))


def test_torch_running_out_of_memory_is_told_with_the_flag_to_lower(capsys):
    import torch

    def too_large(arguments):
        torch.empty(2**60, dtype=torch.uint8)

    def on_a_gpu(arguments):
        raise torch.cuda.OutOfMemoryError("the GPU is full")

    for main in (too_large, on_a_gpu):
        assert commands.run_command(main, Settings, []) == 6
        assert "a smaller --batch-size" in (told := capsys.readouterr().err) and told.count("\n") == 1
        assert main is on_a_gpu or "tried to allocate 1152921504606846976 bytes" in told


@pytest.mark.parametrize("name, code, told", [
    ("numpy", 2, "the package numpy is not installed"), ("numpyy", 1, "a bug")])
def test_a_package_that_has_not_been_installed_is_no_bug(capsys, monkeypatch, name, code, told):
    monkeypatch.setitem(sys.modules, name, None)

    def absent(arguments):
        raise ModuleNotFoundError(f"No module named '{name}'", name=name)

    assert commands.run_command(absent, Settings, []) == code
    assert told in capsys.readouterr().err


def test_a_bug_of_ours_keeps_its_traceback_and_exits_with_1(capsys):
    assert commands.run_command(lambda arguments: 1 // 0, Settings, []) == 1
    assert "ZeroDivisionError" in (told := capsys.readouterr().err) and "Traceback" in told and "a bug" in told


@pytest.mark.parametrize("results", [None, 143, {"test_accuracy": 0.9}, []])
def test_what_main_returns_is_for_python_and_no_exit_code(results):
    assert commands.run_command(lambda arguments: results, Settings, []) == 0


def test_words_that_are_printed_to_be_typed_are_quoted_as_the_shell_of_the_system_wants_it(monkeypatch):
    words = ["--out", "my runs\\it's", "plain"]
    assert options.shell_line(words) == "--out 'my runs\\it'\"'\"'s' plain"
    monkeypatch.setattr(os, "name", "nt")
    assert options.shell_line(words) == "--out \"my runs\\it's\" plain"
    assert commands.resume_command("python -m finetune.imdb", words).endswith("\"my runs\\it's\" plain --resume")


def test_the_command_that_goes_on_has_its_flag_before_what_is_no_flag():
    words = ["--resume", "--out", "x", "--", "-odd", "--resume"]
    assert commands.resume_command("pretrain.distil", words).endswith(".distil --out x --resume -- -odd --resume")


def test_a_stop_has_its_own_exit_code_and_is_a_keyboard_interrupt_wherever_it_goes(capsys):
    def main(arguments):
        raise errors.Stopped(15, "stopped and saved")

    assert issubclass(errors.Stopped, KeyboardInterrupt) and str(errors.Stopped(2)) == "stopped and saved"
    assert commands.run_command(main, Settings, ["--out", "a b"]) == 143
    expected = "stopped and saved; to go on: python -m pretrain.bilm --out 'a b' --resume\n"
    assert capsys.readouterr().err == expected


def test_an_error_stays_on_one_line_whatever_a_file_name_holds(capsys):
    def main(arguments):
        raise errors.DataError("cannot read a\nb\x1b[31m\udcff", "rename it")

    assert commands.run_command(main, Settings, []) == 3
    assert capsys.readouterr().err == "error: cannot read a b\\x1b[31m\\udcff. Fix: rename it.\n"


COMMAND = """
import sys
from minitransfer.apparatus.commands import run_command
from minitransfer.apparatus.options import Parser
def main(arguments):
    for number in range(100_000):
        print(number)
    {end}
sys.exit(run_command(main, Parser(prog="count")))
"""


@pytest.mark.parametrize("flags", [[], ["--help"]])
def test_a_reader_that_leaves_early_ends_the_command_quietly_with_141(flags):
    reader, writer = os.pipe()
    os.close(reader)
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run([sys.executable, "-c", COMMAND.format(end=""), *flags], cwd=ROOT, env=buffered,
                          stdout=writer, stderr=subprocess.PIPE, timeout=30)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_results_that_do_not_fit_the_disk_are_an_error_and_not_lost_silently():
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", COMMAND.format(end="")], cwd=ROOT, stdout=full,
                              stderr=subprocess.PIPE, text=True, timeout=30)
    assert done.returncode == 6 and done.stderr.startswith("error: No space left") and done.stderr.count("\n") == 1


def test_closed_stdout_and_stderr_change_no_exit_code():
    code = COMMAND.format(end="raise MemoryError")
    for closed in (">&-", "2>&-", ">&- 2>&-"):
        shell = ["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, code]
        assert subprocess.run(shell, cwd=ROOT, stdout=subprocess.DEVNULL, timeout=30).returncode == 6


def test_flags_are_checked_without_loading_torch_or_numpy():
    done = run_python("import sys, minitransfer.apparatus.options; print({'torch', 'numpy'} & sys.modules.keys())")
    assert done.stdout == "set()\n"


def test_the_package_itself_lists_every_command_in_the_order_of_the_book(capsys):
    done = subprocess.run([sys.executable, "-m", "minitransfer"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    named = [line.split()[2] for line in done.stdout.splitlines() if line.startswith("python -m ")]
    doors = [".".join(path.parent.relative_to(ROOT).parts) for top in ("pretrain", "finetune", "minitransfer")
             for path in sorted((ROOT / top).rglob("__main__.py"))]
    assert done.returncode == 0 and not done.stderr and set(named) == set(doors) - {"minitransfer"}
    assert named[:3] == ["pretrain.static", "pretrain.bilm", "pretrain.bert"]
    assert [name for name in calling.COMMANDS if name in named] == list(calling.COMMANDS)
    wrong = subprocess.run([sys.executable, "-m", "minitransfer", "finetune.imdb"], cwd=ROOT, capture_output=True,
                           text=True, timeout=60)
    assert wrong.returncode == 2 and "unknown argument 'finetune.imdb'" in wrong.stderr


@pytest.mark.parametrize("command", ["static", "bilm", "bert"])
def test_help_of_pretraining_ends_with_the_values_of_each_preset(command):
    settings = calling.door(f"pretrain.{command}").Settings
    table = make_parser(settings).format_help().partition("\npresets:\n")[2].splitlines()
    rows = {cells[0]: cells[1:] for cells in (re.split(r"\s{2,}", line.strip()) for line in table[1:])}
    assert table[0].split() == ["tiny", "small", "base"]
    for i, values in enumerate(settings.presets.values()):
        for name, value in values.items():
            if isinstance(value, (int, float)):
                assert float(rows[name][i].replace(",", "")) == value
    if command == "bilm":
        assert rows["filters"] == ["2,048", "8,192", "8,192"]
        assert rows["pure: filters"] == ["512", "2,048", "2,048"]
        assert rows["pure: epochs"] == ["6", "-", "-"]


def test_values_from_python_go_the_way_of_flags():
    values = {"epochs": 4, "learning_rate": 2e-3, "resume": True, "offline": False, "threads": None, "out": Path("a b")}
    assert Settings.from_values(values) == Settings.parse_args(
        ["--epochs", "4", "--learning-rate", "2e-3", "--resume", "--out", "a b"])


@pytest.mark.parametrize("values, told", [
    ({"epochs": "-1"}, "--epochs: must be a whole number"),
    ({"learning_rate": None, "epochs": [3, 4]}, "epochs takes one value, and not [3, 4]"),
    ({"mode": "frzen"}, "did you mean frozen?"),
    ({"resume": 1}, "resume is 1. Fix: give True or False"),
    ({"learning-rate": 1}, "did you mean learning_rate?"),
    ({"Out": "x"}, "'Out' is no flag"),
])  # fmt: skip
def test_a_value_from_python_that_cannot_be_meant_is_refused_in_one_line(values, told):
    with pytest.raises(errors.UsageError) as refused:
        Settings.from_values(values)
    assert told in str(refused.value) and ". Fix: " in str(refused.value) and "\n" not in str(refused.value)
