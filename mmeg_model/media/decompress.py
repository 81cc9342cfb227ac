"""What a compressed tar decompresses to. Runs in the decoder process."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from mmeg_model.media.errors import MediaError

PIECE_BYTES: Final = 1 << 20

_OPENERS: Final[dict[bytes, Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZ": bz2.open,
    b"\xfd7": lzma.open,
}
"""By the first two bytes: a name may lie."""


def decompressed(file: BinaryIO) -> Iterator[bytes]:
    """Yield it from the start, in pieces of about 1 MiB.

    Raises:
        MediaError: if the file is not compressed, cut off or damaged, behind what could be read.
    """
    file.seek(0)
    opener = _OPENERS.get(file.read(2))
    if opener is None:
        raise MediaError(
            "find", "NotCompressed", "compressed by none of gzip, bzip2 and xz, as its name says"
        )
    file.seek(0)
    num_bytes = 0
    piece = bytearray()
    broken: MediaError | None = None
    try:
        with opener(file) as reader:
            while part := reader.read1(PIECE_BYTES):  # read would lose what stands before a break
                piece += part
                num_bytes += len(part)
                if len(piece) >= PIECE_BYTES:
                    yield bytes(piece)
                    piece.clear()
    except EOFError:
        message = (
            f"the compressed data end too early, behind {num_bytes} decompressed bytes: the shard was cut off"
        )
        broken = MediaError("find", "TruncatedShard", message)
    except (OSError, zlib.error, lzma.LZMAError) as error:
        message = f"the compressed data are damaged, behind {num_bytes} decompressed bytes: {error}"
        broken = MediaError("find", "BrokenCompression", message)
    if piece:
        yield bytes(piece)
    if broken is not None:
        raise broken
