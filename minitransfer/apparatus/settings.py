"""Apparatus: settings. Where does each flag of a command stand, and which of them decide a result?

The settings of a command are one frozen dataclass, in its `settings.py`. Each field is a flag: name, type, range,
default and help stand in one place. What is not given comes from the preset, or is the field's default; then the
object is complete, and never changes:

    settings = Settings.parse_args(["--corpus", "sample"])       # from a command line
    settings = Settings.of(corpus=("sample",), preset="tiny")    # from Python

Nothing here imports torch, so `--help` and a mistyped flag are answered at once.

Next: runtime.py, what a command sets up before its first step.
"""

import argparse
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass
from typing import Any, ClassVar, Self

from minitransfer.apparatus.options import Parser, directory_name, non_negative_int, positive_float, positive_int

SHARED = "shared flags"
DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "fp32", "bf16")


def flag(help: str, convert: Callable[[str], Any] = str, *, default: Any = MISSING, metavar: str | None = None,
         choices: Sequence[str] | None = None, many: bool = False, positional: bool = False, group: str = "",
         exclusive: str = "", required: bool = False, by_preset: bool = False, decides: bool = True) -> Any:
    """A field of settings that is a flag of the command line.

    convert: turns its text into a value, and refuses what is out of range; bool is for a flag that takes no text.
    many: it takes one text or several, whose values are a tuple.  exclusive: of the flags with this name at most one
    may be given; exactly one if `required`.  by_preset: what it is without the flag, the preset says.
    decides: whether a run's config.json has it, so that a run is resumed only with the same value.
    """
    described = {name: value for name, value in locals().items() if name != "default"}
    return dataclasses.field(default=default, kw_only=True, metadata=described)


def sized() -> Any:
    """A field without a flag, which only presets fill in: a size of the network."""
    return dataclasses.field(kw_only=True, metadata={"by_preset": True, "decides": True})


def without_flag(value: Any) -> Any:
    """A field that another command has a flag for, and this one sets by itself."""
    return dataclasses.field(default=value, kw_only=True, metadata={"by_preset": False, "decides": False})


def shared_flag(help: str, convert: Callable[[str], Any] = str, *, decides: bool = False, **more: Any) -> Any:
    """A flag that every training command has; most of these decide no result."""
    return flag(help, convert, group=SHARED, decides=decides, **more)


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
    parser: ClassVar[type[Parser]] = Parser

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
        given = vars(make_parser(cls).parse_args(argv))
        return cls.of(**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})

    def deciding(self) -> dict[str, Any]:
        """The fields that decide a result, but for those of the preset."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)
                if f.metadata["decides"] and not f.metadata["by_preset"]}

    def from_preset(self) -> dict[str, Any]:
        """The fields that a preset fills in: as it says, or as a flag did."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.metadata["by_preset"]}


@dataclass(frozen=True)
class RunSettings(CommandSettings):
    """The flags that every training command has."""

    data_dir: str | None = shared_flag(
        "where corpora are, or are downloaded to (default: $MINITRANSFER_DATA, else ./data)", directory_name,
        metavar="DIR", default=None)
    offline: bool = shared_flag("never download; say what is missing instead", bool, default=False)
    seed: int = shared_flag("decides initial weights, order, masks and dropout", non_negative_int, metavar="N",
                            default=0, decides=True)
    device: str = device_flag(SHARED)
    threads: int | None = threads_flag(SHARED)
    out: str = out_flag("runs/out")
    resume: bool = shared_flag("go on with the run in --out from its last saved state", bool, default=False)
    save_every: float = shared_flag("seconds between saved states", positive_float, metavar="SECONDS", default=300.0)
    log_every: float = shared_flag("seconds between progress lines where stderr is not a terminal", positive_float,
                                   metavar="SECONDS", default=10.0)


def make_parser(settings: type[CommandSettings]) -> Parser:
    """The parser of a command's flags. What is not given is left out of what it returns, for `of` to fill in."""
    parser = settings.parser(prog=settings.prog, description=settings.description, epilog=settings.epilog)
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
    if described["convert"] is bool:
        options["action"] = argparse.BooleanOptionalAction if field.default is None else "store_true"
    else:
        options |= {"type": described["convert"], "metavar": described["metavar"], "choices": described["choices"]}
        if described["many"]:
            options["nargs"] = "*" if described["positional"] and field.default is not MISSING else "+"
    if described["positional"]:
        place.add_argument(field.name, **options)
    else:
        place.add_argument(f"--{field.name.replace('_', '-')}", dest=field.name, **options)


def _help(field: dataclasses.Field) -> str:
    """What --help says of a flag, with its default where it has one."""
    text, default = field.metadata["help"].replace("%", "%%"), field.default
    if any(default is nothing for nothing in (MISSING, None, False)) or "(default: " in text:
        return text
    return f"{text} (default: {' '.join(map(str, default)) if isinstance(default, tuple) else default})"
