"""Damaged pictures, and files made to exhaust time or memory."""

import io
import itertools
import os
import random
import struct
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from PIL import Image, TiffImagePlugin

from mnist_cnn.data.pictures import read_picture
from tests.commands import SERVER
from tests.faults import Case, measure

_SEEDS = {  # format: options of PIL's `save`
    "PNG": [{}, {"optimize": True}],
    "JPEG": [{"quality": 90}, {"progressive": True}],
    "GIF": [{}],
    "WEBP": [{"lossless": True}, {"quality": 80}],
    "TIFF": [{"compression": kind} for kind in ("raw", "tiff_lzw", "tiff_deflate", "packbits", "jpeg")],
    "BMP": [{}],
}
MANY_FRAMES = ("GIF", "TIFF", "WEBP", "PNG", "MPO")
_YCBCR = {262: 6, 277: 3, 258: (8, 8, 8)}  # tags of a TIFF


def mutations(count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yield damaged pictures of a stroke, with their format."""
    chance = random.Random(seed)
    seeds = [(kind, _encode(kind, options)) for kind, ways in _SEEDS.items() for options in ways]
    for number in range(count):
        kind, good = seeds[number % len(seeds)]
        yield kind, _damage(good, chance)


def bombs() -> Iterator[tuple[str, bytes]]:
    """Yield small files that hold large pictures, and pictures of odd shapes, with a description."""
    yield "a PNG of 100,000 x 100,000", png(100_000, 100_000, b"")
    yield "a PNG of 50 million pixels", png(7_071, 7_071, None)
    yield "a PNG of 50 million coloured pixels of 16 bits", png(7_071, 7_071, None, depth=16, colour=6)
    yield "a PNG with a text of 1 GB", png(28, 28, None, text=2**30)
    yield "30,000 x 1", _encode("PNG", {}, np.full((1, 30_000), 255, np.uint8))
    yield "1 x 30,000", _encode("PNG", {}, np.full((30_000, 1), 255, np.uint8))
    yield "30,000 x 1 with ink", _encode("PNG", {}, np.tile(np.uint8([255, 0, 255]), 10_000)[None])
    yield "1 x 1", _encode("PNG", {}, np.zeros((1, 1), np.uint8))
    yield "a PNG with a million EXIF headers", png(28, 28, None, exif=b"Exif\0\0" * 10**6)  # CVE-2026-96643
    turned = b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\5\0" + struct.pack("<II", 10**6, 26) + b"\0\0\0\0"
    yield "a PNG turned by a million fractions", png(28, 28, None, exif=turned + b"\1\0\0\0" * 2 * 10**6)
    progressive = _encode("JPEG", {"progressive": True}, np.zeros((3000, 3000), np.uint8))
    yield "a JPEG of 2,000 scans", repeat_scan(progressive, 2000)
    yield from ((f"{kind} whose frames differ in mode", of_frames(kind)) for kind in MANY_FRAMES)  # CVE-2026-96639
    yield "an MPO whose second frame is 65,500 x 65,500", _mpo_bomb()  # CVE-2026-96636
    yield "an MPO of two frames that claims two billion", miscounted_mpo()
    yield "a TIFF whose tile is 40,000 x 40,000", tiled_tiff(40_000, 40_000, _zeros(1526))  # CVE-2026-112395
    yield "a TIFF whose tile has no data", tiled_tiff(7_000, 7_000, b"")
    yield "a tiled TIFF in YCbCr, 4 x 4 pixels a colour", tiled_tiff(128, 128, _zeros(1), {**_YCBCR, 530: (4, 4)})
    yield "a TIFF in YCbCr, 4 x 4 pixels a colour", _striped_tiff(_zeros(1), {**_YCBCR, 530: (4, 4)})
    yield "a TIFF in YCbCr, 7 x 3 pixels a colour", _striped_tiff(_zeros(1), {**_YCBCR, 530: (7, 3)})
    yield "a TIFF in YCbCr, cut", _striped_tiff(_zeros(1)[:20], {**_YCBCR, 530: (2, 2)})
    yield "a TIFF whose directory points to itself", _endless_tiff()
    yield "a BMP of 4 million runs of one pixel", run_length_bmp(2000, 2000, b"\1\0" * 4_000_000)
    yield "a PPM of comments", b"P1 7000 7000\n" + b"#\n" * 400_000
    yield "an EPS program in an endless loop", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 28 28\n{} loop\n"


def of_frames(kind: str) -> bytes:
    """Return a page, then blank pages in other modes, as a file of several frames."""
    blank = [Image.new(mode, (90, 120)) for mode in (("RGB",) if kind == "MPO" else ("RGB", "1", "RGBA"))]
    return _encode(kind, {"save_all": True, "append_images": blank, "lossless": True})


def miscounted_mpo() -> bytes:
    """Return an MPO of two frames that claims to have two billion."""
    count = b"\x01\xb0\4\0\1\0\0\0"
    return of_frames("MPO").replace(count + struct.pack("<I", 2), count + struct.pack("<I", 2**31 - 1))


def _mpo_bomb() -> bytes:
    """Return an MPO whose second frame claims a size of its own."""
    content = bytearray(of_frames("MPO"))
    frame = content.rindex(b"\xff\xc0")
    content[frame + 5 : frame + 9] = struct.pack(">HH", 65_500, 65_500)
    return bytes(content)


def repeat_scan(jpeg: bytes, count: int) -> bytes:
    """Return a progressive JPEG with its last scan so many times more."""
    scan = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    return jpeg[:-2] + scan * count + jpeg[-2:]


def tiled_tiff(width: int, height: int, data: bytes, tags: Mapping[int, Any] = MappingProxyType({})) -> bytes:
    """Return a TIFF of 90 x 120 pixels in the corner of one tile."""
    return _tiff(data, {322: width, 323: height, 324: 1024, 325: len(data), **tags})


def _striped_tiff(data: bytes, tags: Mapping[int, Any]) -> bytes:
    return _tiff(data, {273: 1024, 278: 120, 279: len(data), **tags})


def _tiff(data: bytes, tags: Mapping[int, Any]) -> bytes:
    directory, buffer = TiffImagePlugin.ImageFileDirectory_v2(), io.BytesIO()
    for tag, value in {256: 90, 257: 120, 258: 8, 259: 8, 262: 1, 277: 1, **tags}.items():  # packed by zlib, grey
        directory[tag] = value
    directory.save(buffer)
    return buffer.getvalue().ljust(1024, b"\0") + data


def run_length_bmp(width: int, height: int, runs: bytes) -> bytes:
    """Return a BMP whose pixels are pairs of bytes: how many, and which of two colours."""
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 2, 2)
    start = 14 + len(header) + 8
    return struct.pack("<2sIII", b"BM", start + len(runs), 0, start) + header + b"\0\0\0\0\xff\xff\xff\0" + runs


def _zeros(mebibytes: int) -> bytes:
    packer = zlib.compressobj(9)
    first, more = (packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + more * (mebibytes - 1)


def page() -> np.ndarray:
    page = np.full((120, 90), 235, np.uint8)
    page[20:100, 40:52] = 20
    return page


def _encode(kind: str, options: dict[str, object], pixels: np.ndarray | None = None) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(page() if pixels is None else pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def _damage(good: bytes, chance: random.Random) -> bytes:
    damaged = bytearray(good)
    for _ in range(chance.choice([1, 1, 2, 8, 64])):
        place = chance.randrange(len(damaged))
        kind = chance.randrange(5)
        if kind == 0:
            damaged[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            damaged[place] = chance.choice([0, 1, 0x7F, 0x80, 0xFF])
        elif kind == 2:
            damaged[place:place] = chance.randbytes(chance.choice([1, 4, 64]))
        elif kind == 3:
            del damaged[place : place + chance.choice([1, 4, 64])]
        else:
            damaged[place : place + 4] = struct.pack(
                chance.choice("<>") + "I", chance.choice([0, 2**16, 2**31, 2**32 - 1])
            )
        damaged = damaged or bytearray(b"\0")
    return bytes(damaged)


def png(
    width: int, height: int, rows: bytes | None, depth: int = 8, colour: int = 0, text: int = 0, exif: bytes = b""
) -> bytes:
    """Return a PNG whose pixels are all 0: 50 million take 50,000 bytes. `rows` replaces its pixel data."""
    channels = {0: 1, 6: 4}[colour]
    packer = zlib.compressobj(9)
    packed = b""
    if rows is None:
        row = bytes(1 + width * channels * depth // 8)
        packed = b"".join(packer.compress(row) for _ in range(height))
    packed += packer.flush()
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))]
    if text:
        squeezer = zlib.compressobj(9)
        squeezed = b"".join(squeezer.compress(bytes(2**20)) for _ in range(text // 2**20)) + squeezer.flush()
        chunks.append((b"zTXt", b"Comment\0\0" + squeezed))
    if exif:
        chunks.append((b"eXIf", exif))
    chunks += [(b"IDAT", packed), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def _endless_tiff() -> bytes:
    good = bytearray(_encode("TIFF", {}))
    first = struct.unpack("<I", good[4:8])[0]
    entries = struct.unpack("<H", good[first : first + 2])[0]
    good[first + 2 + 12 * entries : first + 6 + 12 * entries] = struct.pack("<I", first)
    return bytes(good)


def cases(work: Path, count: int) -> Iterator[Case]:
    """Read bombs and damaged pictures: each gives an image or one line, within 2 s and 1 GiB. A crash ends a worker."""
    with ProcessPoolExecutor(2, mp_context=SERVER) as pool:
        damaged = ((f"damaged {kind}", content) for kind, content in mutations(count))
        yield from pool.map(_case, itertools.chain(bombs(), damaged), itertools.repeat(work), chunksize=20)


def _case(picture: tuple[str, bytes], work: Path) -> Case:
    fault, content = picture
    file = work / f"{os.getpid()}.picture"
    file.write_bytes(content)

    def read() -> str:
        image = read_picture(file)
        return "" if image.shape == (28, 28) and image.dtype == torch.uint8 else f"became {image.shape}"

    return measure(Case("picture", fault, limit=2), read, mebibytes=1024)
