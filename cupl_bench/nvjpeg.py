"""JPEGs to pixels on a GPU, by nvJPEG: for machines whose cores cannot feed theirs.

Its pixels are its own, and no CPU checks them; so one image of every batch is decoded by the CPU too, and compared.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor

from cupl_bench.dataset.decode import decode_tensor, is_plain_jpeg
from cupl_bench.errors import DatasetError
from cupl_bench.memory import is_lack_of_memory

__all__ = ["DEVICE", "GpuPixels"]

DEVICE = "cuda"
TOLERANCE = 3.0
"""Of 255: how far the pixels that a backbone reads may be from the CPU's, on average over an image."""


@dataclass(frozen=True)
class GpuPixels:
    """Turns files into the pixels that a backbone reads: a worker sorts them, and a batch is decoded at once.

    ``preprocess``: the geometric part of the transform on tensors, of any device.
    """

    preprocess: Callable[[UInt8[Tensor, "3 a b"]], UInt8[Tensor, "3 h w"]]
    device: torch.device

    def __call__(self, content: bytes) -> Tensor:
        """Return the bytes of a JPEG that a GPU decodes, else the pixels by way of the CPU; for worker processes.

        Raises:
            BrokenImageError: as `decode_tensor`.
        """
        if is_plain_jpeg(content):
            return torch.frombuffer(bytearray(content), dtype=torch.uint8)
        return self.preprocess(decode_tensor(content))

    def batch(self, found: Sequence[Tensor]) -> UInt8[Tensor, "n 3 h w"]:
        """Return the pixels of what workers have found, in order, on the GPU.

        Raises:
            DatasetError: the GPU's pixels are not the image that the CPU sees.
        """
        if not found:
            return torch.empty((0, 3, 1, 1), dtype=torch.uint8)
        files = [one for one in found if one.dim() == 1]
        decoded = iter(self._decoded(files))
        pixels = [self.preprocess(next(decoded)) if one.dim() == 1 else one.to(self.device) for one in found]
        if files:
            first = next(place for place, one in enumerate(found) if one.dim() == 1)
            expected = self.preprocess(decode_tensor(files[0].numpy().tobytes()))
            away = float((pixels[first].cpu().float() - expected.float()).abs().mean())
            if away > TOLERANCE:
                raise DatasetError(
                    f"nvJPEG makes another image of a JPEG than the CPU: pixels differ by {away:.1f} of 255 on average,"
                    f" more than {TOLERANCE:.0f}. Take dataset.decode=fast."
                )
        return torch.stack(pixels)

    def _decoded(self, files: Sequence[Tensor]) -> Sequence[Tensor]:
        from torchvision.io import ImageReadMode, decode_jpeg

        if not files:
            return []
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of torchvision 0.29, in favour of torchcodec
                decoded: list[Tensor] = decode_jpeg(list(files), ImageReadMode.RGB, device=self.device)
        except RuntimeError as error:  # one of the batch is of a kind that it does not take
            if is_lack_of_memory(error):
                raise
            return [decode_tensor(one.numpy().tobytes()).to(self.device) for one in files]
        return decoded
