"""What is fetched from the network, and on whose word: files describe, commands decide.

A command, or a call from Python, may name whatever can be fetched. A run, the header of a checkpoint, a recipe or a
study file comes from somebody else as often as not: what it names is opened only where it is on this machine, unless
the user allows more.
"""

from pathlib import Path

from tokenlens.errors import BadInput

SCHEMES = ("https://", "s3://", "gs://")
"""Behind these shards are fetched; whatever else is no file, such as a command, is refused."""


def is_local(name: str) -> bool:
    """Whether a shard is a file, not an address or a command that gives it."""
    return "://" not in name and not name.startswith("pipe:")


def check_address(name: str) -> None:
    """Refuse a shard that is neither a file nor behind one of `SCHEMES`: webdataset would run `pipe:` in a shell."""
    if not is_local(name) and not name.startswith(SCHEMES):
        raise BadInput(
            f"{name} is no place of a shard: give files, or addresses that begin with {', '.join(SCHEMES)}; "
            "commands are never run"
        )


def is_remote(spec: str) -> bool:
    """Whether a data set, or weights, may have to be fetched: `hf:OWNER/NAME`, `wds:https://...`."""
    kind, _, where = spec.partition(":")
    if kind == "hf":
        return not Path(where).expanduser().exists()
    return kind == "wds" and not all(is_local(part) for part in where.split("::"))


def refuse_remote(spec: object, named_by: str, allowed: bool = False) -> None:
    """Refuse to fetch what only a file names, unless the user allows it.

    Args:
        spec: what it names as data or weights; what is no text, or on this machine, is never refused.
        named_by: the file, for the message, as in "the recipe mine.yaml".
        allowed: the user said --allow-remote.

    Raises:
        BadInput: it would be fetched, and that is not allowed; or it is a command, which never is.
    """
    if not isinstance(spec, str) or not is_remote(spec):
        return
    kind, _, where = spec.partition(":")
    for part in where.split("::") if kind == "wds" else ():
        check_address(part)
    if not allowed:
        raise BadInput(
            f"{named_by} names {spec}, which would be fetched from the network: name it yourself on the command line, "
            "or allow it with --allow-remote"
        )
