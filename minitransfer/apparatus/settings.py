"""Apparatus: settings. Where does each flag of a command stand, and which of them decide a result?

The settings of a command are one frozen dataclass, in its `settings.py`. Each field is a flag: name, type, range,
default and help stand in one place. What is not given comes from the preset, or is the field's default; then the
object is complete, and never changes:

    settings = Settings.parse_args(["--corpus", "sample"])       # from a command line
    settings = Settings.of(corpus=("sample",), preset="tiny")    # from Python, each value as it is to be
    settings = Settings.from_values({"corpus": "sample"})        # from Python, each checked as on a command line

Nothing here imports torch, so `--help` and a mistyped flag are answered at once.

Next: commands.py, how a command of the shell is run.
"""

import argparse
import dataclasses
import difflib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass
from functools import partial
from typing import Any, ClassVar, Self

from minitransfer.apparatus.errors import UsageError
from minitransfer.apparatus.options import (
    Parser,
    directory_name,
    non_negative_int,
    positive_float,
    positive_int,
    several_of,
)

SHARED = "shared flags"
DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "fp32", "bf16")
PLACEHOLDER = "x"


def flag(help: str, convert: Callable[[str], Any] = str, *, default: Any = MISSING, metavar: str | None = None,
         choices: Sequence[str] | None = None, many: bool = False, repeated: bool = False, positional: bool = False,
         group: str = "", exclusive: str = "", required: bool = False, by_preset: bool = False, decides: bool = True,
         name: str = "") -> Any:
    """A field of settings that is a flag of the command line.

    convert: turns its text into a value, and refuses what is out of range; bool is for a flag that takes no text.
    many: it takes one text or several, whose values are a tuple.  repeated: so are those of a flag that takes one text
    and may stand several times.  exclusive: of the flags with this name at most one may be given; exactly one if
    `required`.  by_preset: what it is without the flag, the preset says.  decides: whether a run's config.json has it,
    so that a run is resumed only with the same value.  name: of the flag, where the field's would not do.
    """
    described = {key: value for key, value in locals().items() if key != "default"}
    return dataclasses.field(default=default, kw_only=True, metadata=described)


def sized() -> Any:
    """A field without a flag, which only presets fill in: a size of the network."""
    return dataclasses.field(kw_only=True, metadata={"by_preset": True, "decides": True})


def without_flag(value: Any) -> Any:
    """A field that another command has a flag for, and this one sets by itself."""
    return dataclasses.field(default=value, kw_only=True, metadata={"by_preset": False, "decides": False})


shared_flag = partial(flag, group=SHARED, decides=False)  # one that every training command has; most decide no result


def out_flag(default: str | None) -> Any:
    """The flag --out, whose default differs from command to command."""
    return shared_flag("the run directory to write", directory_name, metavar="DIR", default=default)


def device_flag(group: str = "") -> Any:
    """The flag --device."""
    return flag("where to compute; auto takes a CUDA GPU if there is one", choices=DEVICES, default="auto",
                group=group, decides=False)


def threads_flag(group: str = "") -> Any:
    """The flag --threads."""
    return flag("CPU threads (default: all cores)", positive_int, metavar="N", default=None, group=group,
                decides=False)


def precision_flag() -> Any:
    """The flag --precision, of the commands whose networks are large enough for it to matter."""
    return flag("numbers in which matrices are multiplied; auto takes bf16 where the machine has instructions for it "
                "and the network is wide, and is then about twice as fast", choices=PRECISIONS, default="auto")


@dataclass(frozen=True)
class CommandSettings:
    """What the settings of all commands have in common: how they are read, completed and compared.

    prog: how the command is started.  presets: what each value of the field `preset` fills in, by field.
    """

    prog: ClassVar[str]
    description: ClassVar[str]
    epilog: ClassVar[str | None] = None
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    @classmethod
    def of(cls, **given: Any) -> Self:
        """Complete settings: what is given, then what the preset says, then the fields' own defaults.

        Raises: UsageError for values that contradict each other; TypeError for a name that is no field.
        """
        return cls(**{**cls.preset_values(given), **given})

    @classmethod
    def preset_values(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the preset fills in."""
        return cls.presets[given.get("preset", cls.__dataclass_fields__["preset"].default)] if cls.presets else {}

    @classmethod
    def parse_args(cls, argv: Sequence[str] | None = None) -> Self:
        """Complete settings from flags. Exits with 2 on the first that is not understood, and with 0 after --help."""
        return cls._read(make_parser(cls), argv)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """Complete settings from Python's values, by the names of their fields: {"labels": 500}.

        They go the way of a command line, so that each is checked as there. Of a flag that takes several, a list; None
        stands for a flag that is not given. Raises: UsageError for what is not understood.
        """
        def refuse(message: str) -> None:
            """Stands in for `Parser.error`."""
            what, _, fix = message.removeprefix("argument ").partition(". Fix: ")
            raise UsageError(what, fix or f"`{cls.prog} --help` shows what each flag takes")

        parser = make_parser(cls)
        parser.error = refuse  # type: ignore[assignment]
        positional = positional_values(cls, values)
        return cls._read(parser, flag_words(cls, values, positional), positional)

    @classmethod
    def _read(cls, parser: Parser, argv: Sequence[str] | None, positional: Mapping[str, Any] | None = None) -> Self:
        given = vars(parser.parse_args(argv)) | (positional or {})
        return cls.of(**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})

    def deciding(self, by_preset: bool = False) -> dict[str, Any]:
        """The fields that decide a result: those that a preset fills in, where no flag does, or all others."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)
                if f.metadata["decides"] and f.metadata["by_preset"] == by_preset}


@dataclass(frozen=True)
class RunSettings(CommandSettings):
    """The flags of every command that trains, or has others train: what it reads, where it computes, what it writes."""

    data_dir: str | None = shared_flag(
        "where corpora are, or are downloaded to (default: $MINITRANSFER_DATA, else ./data)", directory_name,
        metavar="DIR", default=None)
    offline: bool = shared_flag("never download; say what is missing instead", bool, default=False)
    device: str = device_flag(SHARED)
    threads: int | None = threads_flag(SHARED)
    out: str = out_flag("runs/out")
    resume: bool = shared_flag("go on with the run in --out from its last saved state", bool, default=False)


@dataclass(frozen=True)
class SeedSettings(CommandSettings):
    """The flag of the commands that are a single run."""

    seed: int = shared_flag("decides all that is drawn at random: initial weights, order, masks, dropout; of a task "
                            "also which texts are labelled", non_negative_int, metavar="N", default=0, decides=True)


@dataclass(frozen=True)
class SavingSettings(CommandSettings):
    """The flags of the commands whose runs tell how far they are, and save it, so that they can be interrupted."""

    save_every: float = shared_flag("seconds between saved states", positive_float, metavar="SECONDS", default=300.0)
    log_every: float = shared_flag("seconds between progress lines where stderr is not a terminal", positive_float,
                                   metavar="SECONDS", default=10.0)


def make_parser(settings: type[CommandSettings]) -> Parser:
    """The parser of a command's flags. What is not given is left out of what it returns, for `of` to fill in."""
    epilog = "\n".join(filter(None, (presets_table(settings.presets), settings.epilog)))
    parser = Parser(prog=settings.prog, description=settings.description, epilog=epilog or None)
    places: dict[str, Any] = {"": parser}
    flags = [field for field in dataclasses.fields(settings) if "help" in field.metadata]
    for field in sorted(flags, key=lambda field: field.metadata["group"] == SHARED):  # these stand at the end of --help
        group, exclusive = field.metadata["group"], field.metadata["exclusive"]
        if group not in places:
            places[group] = parser.add_argument_group(group)
        if exclusive and exclusive not in places:
            places[exclusive] = places[group].add_mutually_exclusive_group(required=field.metadata["required"])
        _add_flag(places[exclusive or group], field)
    return parser


def _add_flag(place: Any, field: dataclasses.Field) -> None:
    """Add the flag of one field to a parser, or to a group of it."""
    described = field.metadata
    options: dict[str, Any] = {"help": _help(field), "default": argparse.SUPPRESS}
    if described["repeated"]:
        options |= {"type": described["convert"], "metavar": described["metavar"], "action": "append"}
    elif described["convert"] is bool:
        options["action"] = argparse.BooleanOptionalAction if field.default is None else "store_true"
    else:
        options |= {"type": described["convert"], "metavar": described["metavar"], "choices": described["choices"]}
        if described["many"]:
            options["nargs"] = "*" if described["positional"] and field.default is not MISSING else "+"
            if not described["positional"]:
                options["action"] = "extend"  # given twice, neither is forgotten
    if described["positional"]:
        place.add_argument(field.name, **options)
    else:
        place.add_argument(flag_name(field), dest=field.name, **options)


def flag_name(field: dataclasses.Field) -> str:
    """What the flag of a field is called on a command line."""
    return f"--{(field.metadata['name'] or field.name).replace('_', '-')}"


def texts_of(field: dataclasses.Field, value: Any) -> list[str]:
    """The text of a value from Python, or of each of several. Raises: UsageError for too many, or no text."""
    described, name = field.metadata, field.name
    value = value.item() if getattr(value, "ndim", None) == 0 else value  # a single number of an array
    alone = isinstance(value, (str, bytes, os.PathLike)) or not isinstance(value, Iterable)
    if not alone and not (described["many"] or described["repeated"]):
        raise UsageError(f"{name} takes one value, and not {value!r:.60}", "give one, or make a run of each")
    values = [value] if alone else several_of(name, value)
    if described["positional"]:  # a directory, or a text
        allowed = (str, os.PathLike) if described["convert"] is directory_name else (str,)
        for one in values:
            if not isinstance(one, allowed):
                raise UsageError(f"{name}: {one!r:.60} is of type {type(one).__name__}", "give a string")
    return [str(one) for one in values]


def positional_values(settings: type[CommandSettings], values: Mapping[str, Any]) -> dict[str, Any]:
    """Of Python's values, those that have no flag, such as the texts of finetune.predict.

    Whatever such a text says it is one, be it `--help`. Raises: UsageError for what is no text.
    """
    found: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        if not field.metadata.get("positional") or (value := values.get(field.name)) is None:
            continue
        try:
            converted = tuple(map(field.metadata["convert"], texts_of(field, value)))
        except argparse.ArgumentTypeError as failure:
            what, _, fix = str(failure).partition(". Fix: ")
            raise UsageError(f"{field.name}: {what}", fix or "give another") from failure
        found[field.name] = converted if field.metadata["many"] else converted[0]
    return found


def flag_words(settings: type[CommandSettings], values: Mapping[str, Any], positional: Mapping[str, Any]) -> list[str]:
    """Values by their names as the words of a command line. Raises: UsageError for what no flag can have.

    positional: those that have no flag. Of one that is required there is a PLACEHOLDER, so that the parser asks for it
    where it is missing.
    """
    fields = {field.name: field for field in dataclasses.fields(settings) if "help" in field.metadata}
    for name in values.keys() - fields.keys():
        near = difflib.get_close_matches(name, fields, n=1)
        raise UsageError(f"{name!r} is no flag of `{settings.prog}`",
                         f"did you mean {near[0]}?" if near else f"`{settings.prog} --help` lists every flag")
    words, required = [], []
    for name, field in fields.items():
        value, described = values.get(name), field.metadata
        if described["convert"] is bool:
            if not isinstance(value, bool | None):
                raise UsageError(f"{name} is {value!r:.60}", "give True or False")
            if value or value is False and field.default is None:
                words.append(flag_name(field) if value else flag_name(field).replace("--", "--no-", 1))
        elif described["positional"]:
            required += [PLACEHOLDER] if field.default is MISSING and positional.get(name) else []
        elif value is not None:  # each with its flag, so that none is taken for a flag itself
            words += [f"{flag_name(field)}={text}" for text in texts_of(field, value)] or [flag_name(field)]
    return [*words, *required]


def presets_table(presets: Mapping[str, Mapping[str, Any]]) -> str:
    """What each preset fills in, as a table for --help; nothing where there are none.

    Of pairs (width, how many) the sum of the numbers is shown; what a preset has in a table of its own stands below.
    """
    columns = []
    for values in presets.values():
        inner = {f"{name}: {key}": value for name, table in values.items() if isinstance(table, Mapping)
                 for key, value in table.items()}
        columns.append({name: value for name, value in values.items() if not isinstance(value, Mapping)} | inner)
    names = dict.fromkeys(name for column in columns for name in column)
    shown = [[sum(n for _, n in value) if isinstance(value := column.get(name, "-"), tuple) else value
              for column in columns] for name in names]
    rows = [("", list(presets)), *zip(names, shown)]
    lines = [f"  {name:20}" + "".join(f"{value:>10,}" if isinstance(value, int) else f"{value:>10}" for value in row)
             for name, row in rows]
    return "\n".join(["presets:", *lines]) if presets else ""


def _help(field: dataclasses.Field) -> str:
    """What --help says of a flag, with its default where it has one."""
    text, default = field.metadata["help"].replace("%", "%%"), field.default
    if any(default is nothing for nothing in (MISSING, None, False)) or default in ((), "") or "(default: " in text:
        return text
    return f"{text} (default: {' '.join(map(str, default)) if isinstance(default, tuple) else default})"
