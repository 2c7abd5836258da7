"""Pixels on disk: what images look like after decoding, resizing and cropping, before normalisation.

All models with the same size, resize mode and interpolation read the same pixels, so a sweep over backbones decodes
its images once. The files are those of `cupl_bench.store`: whole or not there, checked when they are read, set aside
when damaged, and what they held is decoded again. Everything below the folder may be deleted at any time.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from safetensors import SafetensorError, safe_open

from cupl_bench.errors import UnreadableError
from cupl_bench.keys import KEY_BYTES
from cupl_bench.store import (
    DamagedFileError,
    files_in,
    read_arrays,
    set_aside,
    shard_path,
    tell_unreadable,
    unreadable,
    write_arrays,
)

__all__ = ["PixelStore"]


@dataclass
class PixelStore:
    """Pixels of one geometry, found by the 16-byte key of the image.

    ``folder`` is named by the geometry and lies beside the folders of other geometries. ``facts`` say it in words.
    ``limit_bytes``: what all of these folders together may hold.
    """

    folder: Path
    facts: Mapping[str, object]
    limit_bytes: float

    def stored(self, keys: Sequence[bytes]) -> Iterator[tuple[list[bytes], UInt8[np.ndarray, "b 3 h w"]]]:
        """Yield those of ``keys`` that are here with their pixels, one shard after the other, each once."""
        wanted = set(keys)
        for path in files_in(self.folder, ".safetensors"):
            try:
                here = _keys(path)
                if wanted.isdisjoint(here):
                    continue
                pixels = read_arrays(path)[0]["pixels"]
            except FileNotFoundError:
                continue
            except UnreadableError as error:
                tell_unreadable(error)
                continue
            except (DamagedFileError, KeyError) as error:
                set_aside(path, error)
                continue
            places = [place for place, key in enumerate(here) if key in wanted]
            wanted.difference_update(here)
            yield [here[place] for place in places], pixels[places]

    def has_room(self, num_bytes: int) -> bool:
        """Return whether so many more bytes stay within the limit."""
        held = sum(path.stat().st_size for path in self.folder.parent.glob("*/*.safetensors"))
        return held + num_bytes <= self.limit_bytes

    def write(self, keys: Sequence[bytes], rows: UInt8[np.ndarray, "b 3 h w"]) -> None:
        """Keep the pixels of ``keys`` as one shard, on the disk before this returns."""
        packed = np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(len(keys), KEY_BYTES)
        write_arrays(shard_path(self.folder, packed), {"keys": packed, "pixels": rows}, self.facts)


def _keys(path: Path) -> list[bytes]:
    """Return the keys of the images that a shard holds, without reading their pixels."""
    try:
        path.open("rb").close()  # safetensors tells permission and damage in the same words
        with safe_open(path, framework="numpy") as file:
            return [key.tobytes() for key in file.get_tensor("keys")]
    except FileNotFoundError:
        raise
    except OSError as error:
        raise unreadable(path, error) from error
    except SafetensorError as error:
        raise DamagedFileError(f"{path} cannot be read ({error})") from error
