"""Finding the faces of photos: an image pyramid and the cascade of MTCNN's three networks.

Photos of equal size go through the networks together: a face is found by many small operations, whose calls cost more
than what they compute. Boxes then come with their owners, the numbers of the photos that they lie in.

Coordinates are in pixels of the photo, x right and y down; the photo's corner is (0, 0), the middle of its first pixel
(0.5, 0.5). Boxes are (left, top, right, bottom).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from scr3d.data.images import resize
from scr3d.errors import ShapeError
from scr3d.photos.mtcnn import OUTPUT_SIZE, PROPOSAL_SIZE, REFINEMENT_SIZE, Mtcnn, load_mtcnn

STRIDE = 2
"""Pixels between two windows of the first network."""
WINDOWS_AT_A_TIME = 32
"""Through the second and the third network; more do not stay in the processor's caches."""
PIXELS_AT_A_TIME = 2**20
"""Of photos that are searched together; a larger one goes by itself."""
BLACK = -127.5 / 128
"""What the networks see beyond a photo's edges."""
MOST_PROPOSALS = 1000
"""Windows of a photo that go on to the second network, the best first; a photo of a crowd has a few hundred."""


@dataclass(frozen=True)
class DetectorOptions:
    """How thoroughly faces are looked for."""

    largest_side: int = 1280
    """Larger photos are scaled down to this many pixels for the search (the crop is taken from the full photo)."""
    smallest_face: float = 0.04
    """Smallest face that is looked for, as a share of the photo's shorter side; never less than 20 pixels."""
    pyramid_factor: float = 0.709
    """Size of each image of the pyramid relative to the one before."""
    proposal_score: float = 0.6
    """Probability that a window needs to pass the first network."""
    refinement_score: float = 0.7
    """Likewise for the second."""
    output_score: float = 0.9
    """Likewise for the last: what is called a face."""


@dataclass(frozen=True)
class Face:
    """A face in a photo.

    Attributes:
        score: probability, in [0, 1].
        box: left, top, right, bottom.
        landmarks: (x, y) of the left and the right eye, the nose, and the left and the right corner of the mouth;
            left and right as seen in the picture.
    """

    score: float
    box: Float[np.ndarray, "4"]
    landmarks: Float[np.ndarray, "5 2"]

    @property
    def height(self) -> float:
        """Height of the box in pixels."""
        return float(self.box[3] - self.box[1])


def find_faces(image: Float[np.ndarray, "height width 3"], options: DetectorOptions | None = None) -> list[Face]:
    """The faces of a photo, the largest first.

    Args:
        image: RGB in [0, 1].
        options: how thoroughly to look.
    """
    return find_all_faces([image], options)[0]


@torch.no_grad()
def find_all_faces(
    images: Sequence[Float[np.ndarray, "_ _ 3"]], options: DetectorOptions | None = None
) -> list[list[Face]]:
    """The faces of each of some photos, as `find_faces` has them, but faster where photos have one size.

    Args:
        images: RGB in [0, 1], of any sizes.
        options: how thoroughly to look.
    """
    options = options or DetectorOptions()
    of_size: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, image in enumerate(images):
        if image.ndim != 3 or image.shape[2] != 3:
            raise ShapeError(f"expected an image [height, width, 3], got {image.shape}")
        of_size[image.shape].append(number)
    found: list[list[Face]] = [[] for _ in images]
    for (height, width, _), numbers in of_size.items():
        scale = min(1.0, options.largest_side / max(height, width))
        at_a_time = max(1, int(PIXELS_AT_A_TIME / (height * width * scale**2)))
        for start in range(0, len(numbers), at_a_time):
            part = numbers[start : start + at_a_time]
            photos = torch.from_numpy(np.stack([_reduced(images[number], scale) for number in part]))
            for number, faces in zip(part, _find(photos, scale, options), strict=True):
                found[number] = faces
    return found


def suppress(
    boxes: Float[Tensor, "boxes 4"],
    scores: Float[Tensor, " boxes"],
    overlap: float,
    of_smaller: bool = False,
    owners: Int64[Tensor, " boxes"] | None = None,
) -> Int64[Tensor, " kept"]:
    """Indices of boxes that are left when every box gives way to a better one that it overlaps, the best first.

    Args:
        boxes: the boxes.
        scores: of the boxes.
        overlap: largest overlap that is kept: intersection over union, or over the smaller box.
        of_smaller: measure by the smaller box, so that a face within a face goes as well.
        owners: boxes of different owners do not meet; indices come owner by owner. None: all have one.
    """
    # In NumPy, whose calls cost little where there are few boxes; every round keeps the best box left of each owner.
    owner = np.zeros(len(boxes), np.int64) if owners is None else owners.numpy()
    order = np.lexsort((-scores.numpy(), owner))
    owner, (left, top, right, bottom) = owner[order], boxes.numpy()[order].T
    area = np.maximum(right - left, 0) * np.maximum(bottom - top, 0)
    kept, rest = [np.zeros(0, np.int64)], np.arange(len(order))
    while len(rest):
        first = np.flatnonzero(np.diff(owner[rest], prepend=-1))
        kept.append(rest[first])
        best = np.repeat(rest[first], np.diff(first, append=len(rest)))
        across = np.minimum(right[best], right[rest]) - np.maximum(left[best], left[rest])
        down = np.minimum(bottom[best], bottom[rest]) - np.maximum(top[best], top[rest])
        shared = np.maximum(across, 0) * np.maximum(down, 0)
        whole = np.minimum(area[best], area[rest]) if of_smaller else area[best] + area[rest] - shared
        apart = shared <= overlap * np.maximum(whole, 1e-9)
        apart[first] = False
        rest = rest[apart]
    return torch.from_numpy(order[np.sort(np.concatenate(kept))])


def summed_area_table(
    photos: Float[Tensor, "photos height width 3"],
) -> Float64[Tensor, "photos height+1 width+1 3"]:
    """Sums of what is brighter than black over the pixels above and to the left of every corner of a pixel.

    Source: Crow, "Summed-area tables for texture mapping", 1984.
    """
    return F.pad((photos.double() - BLACK).cumsum(1).cumsum(2), (0, 0, 1, 0, 1, 0))


def cut_windows(
    table: Float64[Tensor, "photos more_rows more_columns 3"],
    boxes: Float[Tensor, "boxes 4"],
    owners: Int64[Tensor, " boxes"],
    size: int,
) -> Float[Tensor, "boxes 3 size size"]:
    """Boxes cut out of photos in one size, as means over areas, black beyond the edges.

    Args:
        table: `summed_area_table` of the photos.
        boxes: of any sizes; corners are rounded to whole pixels.
        owners: in which photo each box lies.
        size: height and width of the results in pixels.
    """
    left, top, right, bottom = boxes.round().long().unbind(1)
    rows, columns = table.shape[1:3]
    above, below, height = _edges(top, bottom, size, rows - 1)
    before, behind, width = _edges(left, right, size, columns - 1)
    flat, first = table.flatten(0, 2), owners[:, None] * rows
    total = torch.zeros(len(boxes) * size * size, 3, dtype=torch.float64)
    for row, column, sign in ((below, behind, 1), (above, behind, -1), (below, before, -1), (above, before, 1)):
        at = ((first + row) * columns)[:, :, None] + column[:, None, :]
        total.add_(flat.index_select(0, at.flatten()), alpha=sign)
    means = total.view(len(boxes), size, size, 3) / (height[:, :, None] * width[:, None, :])[..., None]
    return (means + BLACK).float().movedim(-1, 1)  # with the channels last


def _find(photos: Float[Tensor, "photos height width 3"], scale: float, options: DetectorOptions) -> list[list[Face]]:
    """The faces of photos of one size, which have been scaled down by `scale`."""
    network = load_mtcnn()
    photos = (photos * 255 - 127.5).div_(128)
    boxes, owners = _propose(photos.movedim(-1, 1), network, options)
    table = summed_area_table(photos)
    boxes, owners = _refine(table, boxes, owners, network, options)
    boxes, owners, scores, landmarks = _judge(table, boxes, owners, network, options)
    found: list[list[Face]] = [[] for _ in photos]
    for i in torch.argsort(boxes[:, 3] - boxes[:, 1], descending=True, stable=True).tolist():
        box, points = (boxes[i] / scale).double().numpy(), (landmarks[i] / scale).double().numpy()
        found[int(owners[i])].append(Face(float(scores[i]), box, points))
    return found


def _reduced(image: np.ndarray, scale: float) -> np.ndarray:
    """The photo, scaled down if it is large."""
    height, width = image.shape[:2]
    if scale == 1.0:
        return np.asarray(image, np.float32)
    return resize(image, (max(1, round(height * scale)), max(1, round(width * scale))))


def _propose(photos: Tensor, network: Mtcnn, options: DetectorOptions) -> tuple[Tensor, Tensor]:
    """Square windows that may hold a face, from every image of the pyramid, and their owners."""
    height, width = photos.shape[2:]
    smallest = max(20.0, options.smallest_face * min(height, width))
    scale, found, owned = PROPOSAL_SIZE / smallest, [torch.zeros(0, 9)], [torch.zeros(0, dtype=torch.long)]
    while min(height, width) * scale >= PROPOSAL_SIZE:
        rows, columns = max(PROPOSAL_SIZE, round(height * scale)), max(PROPOSAL_SIZE, round(width * scale))
        scores, corrections = network.proposal(F.interpolate(photos, size=(rows, columns), mode="area"))
        owners, row, column = (scores >= options.proposal_score).nonzero(as_tuple=True)
        if len(owners):
            step = torch.tensor([width / columns, height / rows])
            corner = torch.stack([column, row], dim=1) * STRIDE * step
            boxes = torch.cat([corner, corner + PROPOSAL_SIZE * step], dim=1)
            score, correction = scores[owners, row, column], corrections[owners, :, row, column]
            kept = suppress(boxes, score, 0.5, owners=owners)
            found.append(torch.cat([_corrected(boxes, correction), score[:, None], boxes], dim=1)[kept])
            owned.append(owners[kept])
        scale *= options.pyramid_factor
    proposals, owners = torch.cat(found), torch.cat(owned)
    kept = suppress(proposals[:, 5:], proposals[:, 4], 0.7, owners=owners)
    starts = torch.searchsorted(owners[kept], owners[kept])
    kept = kept[torch.arange(len(kept)) - starts < MOST_PROPOSALS]
    return _squared(proposals[kept, :4]), owners[kept]


def _refine(
    table: Tensor, boxes: Tensor, owners: Tensor, network: Mtcnn, options: DetectorOptions
) -> tuple[Tensor, Tensor]:
    """The windows that the second network takes for faces."""
    if not len(boxes):
        return boxes, owners
    parts = [network.refinement(part) for part in _in_blocks(table, boxes, owners, REFINEMENT_SIZE)]
    scores, corrections = (torch.cat(values) for values in zip(*parts, strict=True))
    passed = scores > options.refinement_score
    boxes, owners, scores, corrections = boxes[passed], owners[passed], scores[passed], corrections[passed]
    kept = suppress(boxes, scores, 0.7, owners=owners)
    return _squared(_corrected(boxes, corrections)[kept]), owners[kept]


def _judge(
    table: Tensor, boxes: Tensor, owners: Tensor, network: Mtcnn, options: DetectorOptions
) -> tuple[Float[Tensor, "faces 4"], Int64[Tensor, " faces"], Float[Tensor, " faces"], Float[Tensor, "faces 5 2"]]:
    """Boxes, owners, scores and landmarks of what the last network calls faces."""
    if not len(boxes):
        return boxes, owners, torch.zeros(0), torch.zeros(0, 5, 2)
    parts = [network.output(part) for part in _in_blocks(table, boxes, owners, OUTPUT_SIZE)]
    scores, corrections, points = (torch.cat(values) for values in zip(*parts, strict=True))
    passed = scores > options.output_score
    boxes, owners, scores = boxes[passed], owners[passed], scores[passed]
    size = boxes[:, 2:] - boxes[:, :2]
    landmarks = boxes[:, None, :2] + points[passed] * size[:, None]
    boxes = _corrected(boxes, corrections[passed])
    kept = suppress(boxes, scores, 0.7, of_smaller=True, owners=owners)
    return boxes[kept], owners[kept], scores[kept], landmarks[kept]


def _corrected(boxes: Tensor, corrections: Tensor) -> Tensor:
    """Boxes moved by corrections in units of their size."""
    return boxes + corrections * (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)


def _squared(boxes: Tensor) -> Tensor:
    """The smallest squares around boxes with the same middle."""
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).amax(dim=1, keepdim=True) / 2
    return torch.cat([middle - half, middle + half], dim=1)


def _in_blocks(table: Tensor, boxes: Tensor, owners: Tensor, size: int) -> Iterator[Tensor]:
    for some, of in zip(boxes.split(WINDOWS_AT_A_TIME), owners.split(WINDOWS_AT_A_TIME), strict=True):
        yield cut_windows(table, some, of, size)


def _edges(start: Tensor, end: Tensor, size: int, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Where the areas of each pixel of the windows begin and end within the photo, and how long they are in all."""
    extent, steps = (end - start).clamp(min=1)[:, None], torch.arange(size + 1)
    first = start[:, None] + steps[:-1] * extent // size
    last = start[:, None] - (-steps[1:] * extent) // size
    return first.clamp(0, length), last.clamp(0, length), last - first
