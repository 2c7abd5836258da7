"""Folders of the Hugging Face hub, from its cache on this machine or by a download."""

from collections.abc import Sequence
from pathlib import Path

from cupl_bench.backbone import WeightsNotHereError
from cupl_bench.errors import BackboneError

__all__ = ["hub_folder"]


def hub_folder(name: str, revision: str | None, patterns: Sequence[str], *, download: bool, key: str) -> Path:
    """Return the folder of a repository of the hub with the files that fit ``patterns``.

    Args:
        name: the id on the hub, owner and name.
        revision: branch, tag or commit; None for the main branch.
        patterns: which of its files are needed.
        download: whether what is not here is fetched.
        key: where the user has named it, for messages.

    Raises:
        WeightsNotHereError: it is not on this machine and ``download`` is False.
        BackboneError: it cannot be had.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    def unreachable(error: Exception) -> BackboneError:
        return BackboneError(
            f"{name} is not a folder here and cannot be downloaded from the hub ({' '.join(str(error).split())[:200]})."
            f" Without a network, run 'hf download {name}' elsewhere and give the folder in {key}."
        )

    try:
        return Path(
            snapshot_download(name, revision=revision, allow_patterns=list(patterns), local_files_only=not download)
        )
    except LocalEntryNotFoundError as error:
        if not download:
            raise WeightsNotHereError(f"hub:{name}") from error
        raise unreachable(error) from error
    except HFValidationError as error:
        raise BackboneError(f"{key}={name} is neither a folder nor a hub id (owner/name).") from error
    except (HfHubHTTPError, OSError) as error:
        raise unreachable(error) from error
