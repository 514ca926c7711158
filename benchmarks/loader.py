"""Source images per second that one core turns from JPEG bytes into weak + strong views, ours and the usual.

    python benchmarks/loader.py [--faces FOLDER] [--size 112] [--images 512] [--rounds 9]

Left: ferbench (OpenCV, uint8 batches; normalisation is left to the device). Right: what the field's code
bases do, written here with Pillow and torchvision (the image decoded once, both views as Pillow images, then
ToTensor, Normalize and stack). The rows "both uint8" leave the peers' float conversion out, to show what the
image operations alone give. One process without workers. The two take turns, so that whatever else the
machine does strikes both; the clock is the process's CPU time; the figures are medians over rounds. On a busy
machine trust the ratio, not the absolute speed.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy and PyTorch start their threads

import argparse
import io
import random
import statistics
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from rich.console import Console
from rich.table import Column, Table
from torchvision import transforms

from ferbench.data.augment.color import Tones
from ferbench.data.augment.randaugment import OPERATIONS, Operation
from ferbench.data.io import decode
from ferbench.data.views import Views
from ferbench.errors import UserError

BATCH = 64
TARGET_SPEED, TARGET_RATIO = 2400, 3.0

Pillow = Image.Image
PEER_OPERATIONS: dict[str, Callable[[Pillow, float], Pillow]] = {
    "AutoContrast": lambda image, _: ImageOps.autocontrast(image),
    "Brightness": lambda image, v: ImageEnhance.Brightness(image).enhance(v),
    "Color": lambda image, v: ImageEnhance.Color(image).enhance(v),
    "Contrast": lambda image, v: ImageEnhance.Contrast(image).enhance(v),
    "Equalize": lambda image, _: ImageOps.equalize(image),
    "Identity": lambda image, _: image,
    "Posterize": lambda image, v: ImageOps.posterize(image, int(v)),
    "Rotate": lambda image, v: image.rotate(v),
    "Sharpness": lambda image, v: ImageEnhance.Sharpness(image).enhance(v),
    "ShearX": lambda image, v: _affine(image, (1, v, 0, 0, 1, 0)),
    "ShearY": lambda image, v: _affine(image, (1, 0, 0, v, 1, 0)),
    "Solarize": lambda image, v: ImageOps.solarize(image, int(v)),
    "TranslateX": lambda image, v: _affine(image, (1, 0, v * image.width, 0, 1, 0)),
    "TranslateY": lambda image, v: _affine(image, (1, 0, 0, 0, 1, v * image.height)),
}


def _affine(image: Pillow, coefficients: tuple[float, ...]) -> Pillow:
    return image.transform(image.size, Image.Transform.AFFINE, coefficients)


def peer_strong(image: Pillow) -> Pillow:
    """RandAugment with 3 operations, then cutout, drawn with Python's `random`."""
    for name in random.choices(list(PEER_OPERATIONS), k=3):
        image = PEER_OPERATIONS[name](image, random.uniform(OPERATIONS[name].low, OPERATIONS[name].high))
    side = random.uniform(0, 0.5) * image.width
    x, y = random.uniform(0, image.width) - side / 2, random.uniform(0, image.height) - side / 2
    image = image.copy()
    ImageDraw.Draw(image).rectangle((x, y, x + side, y + side), (127, 127, 127))
    return image


class Peer:
    """The same pipeline with Pillow and torchvision."""

    def __init__(self, size: int):
        weak = [
            transforms.Resize((size, size)),
            transforms.RandomCrop(size, padding=int(size * 0.125), padding_mode="reflect"),
            transforms.RandomHorizontalFlip(),
        ]
        to_tensor = [
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
        self.weak = transforms.Compose([*weak, *to_tensor])
        self.strong = transforms.Compose([*weak, transforms.Lambda(peer_strong), *to_tensor])
        to_uint8 = transforms.PILToTensor()
        self.weak_uint8 = transforms.Compose([*weak, to_uint8])
        self.strong_uint8 = transforms.Compose([*weak, transforms.Lambda(peer_strong), to_uint8])

    def __call__(self, batch: list[bytes]) -> None:
        """JPEG bytes to two float batches."""
        images = [self.decode(data) for data in batch]
        torch.stack([self.weak(image) for image in images])
        torch.stack([self.strong(image) for image in images])

    @staticmethod
    def decode(data: bytes) -> Pillow:
        """JPEG bytes to a Pillow image."""
        return Image.open(io.BytesIO(data)).convert("RGB")


class Ours:
    """ferbench's pipeline."""

    def __init__(self, size: int):
        self.views = Views(size)
        self.epochs = np.zeros(BATCH, np.int64)
        self.next = 0

    def __call__(self, batch: list[bytes]) -> None:
        """JPEG bytes to two uint8 batches."""
        indices = np.arange(self.next, self.next + len(batch))
        self.next += len(batch)
        images = [self.decode(data) for data in batch]
        self.views.render(images, ("weak", "strong"), 0, self.epochs[: len(batch)], indices)

    @staticmethod
    def decode(data: bytes) -> np.ndarray:
        """JPEG bytes to an array."""
        return decode(data, str, 0)


def draw_faces(count: int, size: int = 112) -> list[bytes]:
    """Face-like pictures (oval, eyes, mouth, noise of several octaves) as JPEGs of a crop's usual size."""
    generator = np.random.default_rng(0)
    faces = []
    for _ in range(count):
        canvas = np.full((size, size, 3), generator.integers(20, 230, 3), np.float32)
        skin = generator.uniform((90, 60, 50), (240, 200, 180)).tolist()
        cv2.ellipse(
            canvas, (size // 2, size // 2), (size * 2 // 5, size * 6 // 13), 0, 0, 360, skin, -1, cv2.LINE_AA
        )
        for x in (size // 3, size * 2 // 3):
            cv2.ellipse(
                canvas, (x, size * 2 // 5), (size // 12, size // 20), 0, 0, 360, (30, 25, 25), -1, cv2.LINE_AA
            )
        cv2.ellipse(
            canvas,
            (size // 2, size * 7 // 10),
            (size // 6, size // 20),
            0,
            0,
            180,
            (120, 40, 50),
            3,
            cv2.LINE_AA,
        )
        for cells, strength in ((4, 26), (8, 20), (16, 15), (32, 10), (64, 6)):
            noise = generator.normal(0, strength, (cells, cells, 1)).astype(np.float32)
            canvas += cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)[..., None]
        picture = np.clip(canvas, 0, 255).astype(np.uint8)[..., ::-1]
        faces.append(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())
    return faces


def read_faces(folder: Path, count: int) -> list[bytes]:
    """The first `count` JPEGs below a folder, by name."""
    if not folder.is_dir():
        raise UserError(
            "the folder of faces does not exist", where=folder, expected="a folder with *.jpg files"
        )
    paths = sorted(folder.rglob("*.jpg"))[:count]
    if not paths:
        raise UserError("there is no JPEG below the folder", where=folder, expected="*.jpg files")
    return [path.read_bytes() for path in paths]


def seconds(work: Callable[[], object]) -> float:
    """CPU time of all threads of this process."""
    start = time.process_time()
    work()
    return time.process_time() - start


def compare(
    ours: Callable[[], object], peer: Callable[[], object], rounds: int
) -> tuple[float, float, float]:
    """Median seconds of both, and the median of the rounds' ratios peer / ours."""
    ours(), peer()  # warm up
    pairs = [(seconds(ours), seconds(peer)) for _ in range(rounds)]
    mine, theirs = zip(*pairs, strict=True)
    return statistics.median(mine), statistics.median(theirs), statistics.median(b / a for a, b in pairs)


def pipeline_table(faces: list[bytes], size: int, rounds: int) -> tuple[Table, float, float]:
    """The whole pipeline and its parts; also our images/s and the ratio."""
    batches = [faces[i : i + BATCH] for i in range(0, len(faces), BATCH)]
    ours, peer = Ours(size), Peer(size)
    arrays, pictures = [ours.decode(data) for data in faces], [peer.decode(data) for data in faces]
    zeros, numbers = np.zeros(len(faces), np.int64), np.arange(len(faces))

    def one_view(name: str) -> Callable[[], object]:
        return lambda: [
            ours.views.render(arrays[i : i + BATCH], [name], 0, zeros[i : i + BATCH], numbers[i : i + BATCH])
            for i in range(0, len(arrays), BATCH)
        ]

    def peer_view(pipeline: Callable[[Pillow], torch.Tensor]) -> Callable[[], object]:
        return lambda: [
            torch.stack([pipeline(image) for image in pictures[i : i + BATCH]])
            for i in range(0, len(pictures), BATCH)
        ]

    rows: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "JPEG -> weak + strong": (partial(for_each, ours, batches), partial(for_each, peer, batches)),
        "  decode": (partial(for_each, ours.decode, faces), partial(for_each, peer.decode, faces)),
        "  weak view": (one_view("weak"), peer_view(peer.weak)),
        "  strong view": (one_view("strong"), peer_view(peer.strong)),
        "  weak, both uint8": (one_view("weak"), peer_view(peer.weak_uint8)),
        "  strong, both uint8": (one_view("strong"), peer_view(peer.strong_uint8)),
    }
    table = Table(
        Column("", no_wrap=True),
        "ferbench us/image",
        "images/s per core",
        "Pillow us/image",
        "images/s per core",
        "ratio",
    )
    results = {}
    for name, (mine, theirs) in rows.items():
        a, b, ratio = compare(mine, theirs, rounds)
        results[name] = (len(faces) / a, ratio)
        cells = [1e6 * a / len(faces), len(faces) / a, 1e6 * b / len(faces), len(faces) / b]
        table.add_row(name, *(f"{cell:,.0f}" for cell in cells), f"{ratio:.2f}x")
    return table, *results["JPEG -> weak + strong"]


def for_each(work: Callable[[Any], object], items: Iterable[Any]) -> None:
    for item in items:
        work(item)


def run_ours(operation: Operation, images: list[np.ndarray], magnitudes: list[float]) -> None:
    for image, magnitude in zip(images, magnitudes, strict=True):
        operation(Tones(image), magnitude).image()


def run_peer(
    operation: Callable[[Pillow, float], Pillow], images: list[Pillow], magnitudes: list[float]
) -> None:
    for image, magnitude in zip(images, magnitudes, strict=True):
        operation(image, magnitude)


def operation_table(faces: list[bytes], rounds: int) -> Table:
    """Each operation alone, at magnitudes spread evenly over its range."""
    arrays = [Ours.decode(data) for data in faces[:100]]
    pictures = [Image.fromarray(array) for array in arrays]
    table = Table("operation", "ferbench us/image", "Pillow us/image", "ratio")
    for name, operation in OPERATIONS.items():
        magnitudes = np.linspace(operation.low, operation.high, len(arrays), endpoint=False).tolist()
        ours = partial(run_ours, operation, arrays, magnitudes)
        peer = partial(run_peer, PEER_OPERATIONS[name], pictures, magnitudes)
        a, b, ratio = compare(ours, peer, rounds)
        table.add_row(name, f"{1e6 * a / len(arrays):.1f}", f"{1e6 * b / len(arrays):.1f}", f"{ratio:.2f}x")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--faces", type=Path, help="folder of JPEGs (default: drawn pictures of 112 pixels)")
    parser.add_argument("--size", type=int, default=112, help="side of the views in pixels")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    random.seed(0)

    console = Console()
    try:
        faces = (
            read_faces(arguments.faces, arguments.images) if arguments.faces else draw_faces(arguments.images)
        )
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
    kilobytes = sum(map(len, faces)) / len(faces) / 1000
    source = arguments.faces or "drawn faces"
    console.print(
        f"{len(faces)} JPEGs of {kilobytes:.1f} kB on average ({source}), views of {arguments.size} px"
    )
    table, speed, ratio = pipeline_table(faces, arguments.size, arguments.rounds)
    console.print(table)
    console.print(
        f"targets: {TARGET_SPEED:,} images/s per core, here {speed:,.0f}; "
        f"{TARGET_RATIO:g}x, here {ratio:.2f}x"
    )
    console.print(operation_table(faces, arguments.rounds))


if __name__ == "__main__":
    main()
