"""python -m minitransfer.huggingface: the flags are here, the exchange is in exchange.py."""

import argparse
from pathlib import Path

from minitransfer.apparatus.commands import run_command
from minitransfer.apparatus.options import Parser, directory_name

DESCRIPTION = """Bring a BERT or a GPT to the format of the transformers library, or from there.

examples:
  python -m minitransfer.huggingface export runs/bert bert-folder
  python -m minitransfer.huggingface export runs/bert-finetuned imdb-folder
  python -m minitransfer.huggingface import bert-base-uncased runs/bert-base

seconds; neither that library nor a network is needed"""


def make_parser() -> Parser:
    """The flags of this command."""
    parser = Parser(prog="python -m minitransfer.huggingface", description=DESCRIPTION)
    commands = parser.add_subparsers(dest="command", metavar="{export,import}", required=True)
    leave = commands.add_parser(
        "export", help="write a run as a folder for from_pretrained",
        description="Write a run of pretrain.bert as a BertForMaskedLM, one of pretrain.gpt as a BertLMHeadModel, or\n"
                    "one of `finetune.imdb --head cls` on such a BERT as a BertForSequenceClassification.")
    leave.add_argument("run", metavar="RUN", type=directory_name, help="a finished run")
    leave.add_argument("folder", metavar="DIR", type=directory_name, help="the folder to write, new or empty")
    come = commands.add_parser(
        "import", help="make a run of a folder that was saved there",
        description="Make a run of an uncased BERT, or of such a GPT, which `finetune.imdb --encoder` takes.\n"
                    "Of the folder are read config.json, model.safetensors, and tokenizer.json or vocab.txt.")
    come.add_argument("folder", metavar="DIR", type=directory_name, help="the folder with these files")
    come.add_argument("run", metavar="RUN", type=directory_name, help="the run directory to write, new or empty")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Bring a run there, or a folder here, once the flags are understood: torch takes seconds to import."""
    from minitransfer.huggingface.exchange import export_run, import_folder

    run, folder = Path(arguments.run), Path(arguments.folder)
    if arguments.command == "export":
        export_run(run, folder)
    else:
        import_folder(folder, run)


if __name__ == "__main__":
    raise SystemExit(run_command(main, make_parser()))
