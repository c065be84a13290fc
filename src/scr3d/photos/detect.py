"""Finding the faces of a photo: an image pyramid and the cascade of MTCNN's three networks.

Coordinates are in pixels of the photo, x right and y down; the photo's corner is (0, 0), the middle of its first pixel
(0.5, 0.5). Boxes are (left, top, right, bottom).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from scr3d.data.images import resize
from scr3d.errors import ShapeError
from scr3d.photos.mtcnn import OUTPUT_SIZE, PROPOSAL_SIZE, REFINEMENT_SIZE, Mtcnn, load_mtcnn

STRIDE = 2
"""Pixels between two windows of the first network."""
WINDOWS_AT_A_TIME = 256
MOST_PROPOSALS = 1000
"""Windows that go on to the second network, the best first; a photo of a crowd has a few hundred."""


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


@torch.no_grad()
def find_faces(image: Float[np.ndarray, "height width 3"], options: DetectorOptions | None = None) -> list[Face]:
    """The faces of a photo, the largest first.

    Args:
        image: RGB in [0, 1].
        options: how thoroughly to look.
    """
    if image.ndim != 3 or image.shape[2] != 3:
        raise ShapeError(f"expected an image [height, width, 3], got {image.shape}")
    options, network = options or DetectorOptions(), load_mtcnn()
    small, scale = _reduced(image, options.largest_side)
    photo = torch.from_numpy(small * 255 - 127.5).div_(128).movedim(-1, 0)[None]  # with the channels last
    boxes = _propose(photo, network, options)
    boxes = _refine(photo, boxes, network, options)
    boxes, scores, landmarks = _judge(photo, boxes, network, options)
    order = torch.argsort(boxes[:, 3] - boxes[:, 1], descending=True)
    return [
        Face(float(scores[i]), (boxes[i] / scale).double().numpy(), (landmarks[i] / scale).double().numpy())
        for i in order.tolist()
    ]


def suppress(
    boxes: Float[Tensor, "boxes 4"], scores: Float[Tensor, " boxes"], overlap: float, of_smaller: bool = False
) -> Tensor:
    """Indices of boxes that are left when every box gives way to a better one that it overlaps, the best first.

    Args:
        boxes: the boxes.
        scores: of the boxes.
        overlap: largest overlap that is kept: intersection over union, or over the smaller box.
        of_smaller: measure by the smaller box, so that a face within a face goes as well.
    """
    order = torch.argsort(scores, descending=True, stable=True)
    left, top, right, bottom = boxes[order].T.numpy()
    area = np.maximum(right - left, 0) * np.maximum(bottom - top, 0)
    kept, rest = [], np.arange(len(order))  # in NumPy, whose calls cost little where there are few boxes
    while len(rest):
        best, rest = rest[0], rest[1:]
        kept.append(best)
        across = np.minimum(right[best], right[rest]) - np.maximum(left[best], left[rest])
        down = np.minimum(bottom[best], bottom[rest]) - np.maximum(top[best], top[rest])
        shared = np.maximum(across, 0) * np.maximum(down, 0)
        whole = np.minimum(area[best], area[rest]) if of_smaller else area[best] + area[rest] - shared
        rest = rest[shared <= overlap * np.maximum(whole, 1e-9)]
    return order[torch.tensor(kept, dtype=torch.long)]


def _reduced(image: np.ndarray, largest_side: int) -> tuple[np.ndarray, float]:
    """The photo, scaled down if it is large, and its size relative to the original."""
    height, width = image.shape[:2]
    scale = min(1.0, largest_side / max(height, width))
    if scale == 1.0:
        return np.asarray(image, np.float32), 1.0
    return resize(image, (max(1, round(height * scale)), max(1, round(width * scale)))), scale


def _propose(photo: Tensor, network: Mtcnn, options: DetectorOptions) -> Tensor:
    """Square windows that may hold a face, from every image of the pyramid."""
    height, width = photo.shape[2:]
    smallest = max(20.0, options.smallest_face * min(height, width))
    scale, found = PROPOSAL_SIZE / smallest, []
    while min(height, width) * scale >= PROPOSAL_SIZE:
        rows, columns = max(PROPOSAL_SIZE, round(height * scale)), max(PROPOSAL_SIZE, round(width * scale))
        scores, corrections = network.proposal(F.interpolate(photo, size=(rows, columns), mode="area"))
        at = (scores[0] >= options.proposal_score).nonzero()
        if len(at):
            step = torch.tensor([width / columns, height / rows])
            corner = at.flip(1) * STRIDE * step
            boxes = torch.cat([corner, corner + PROPOSAL_SIZE * step], dim=1)
            score = scores[0, at[:, 0], at[:, 1]]
            kept = suppress(boxes, score, 0.5)
            correction = corrections[0, :, at[:, 0], at[:, 1]].T
            found.append(torch.cat([_corrected(boxes, correction), score[:, None], boxes], dim=1)[kept])
        scale *= options.pyramid_factor
    if not found:
        return torch.zeros(0, 4)
    rows_found = torch.cat(found)
    kept = suppress(rows_found[:, 5:], rows_found[:, 4], 0.7)[:MOST_PROPOSALS]
    return _squared(rows_found[kept, :4])


def _refine(photo: Tensor, boxes: Tensor, network: Mtcnn, options: DetectorOptions) -> Tensor:
    """The windows that the second network takes for faces."""
    if not len(boxes):
        return boxes
    parts = [network.refinement(part) for part in _windows(photo, boxes, REFINEMENT_SIZE)]
    scores, corrections = (torch.cat(values) for values in zip(*parts, strict=True))
    passed = scores > options.refinement_score
    boxes, scores, corrections = boxes[passed], scores[passed], corrections[passed]
    kept = suppress(boxes, scores, 0.7)
    return _squared(_corrected(boxes, corrections)[kept])


def _judge(
    photo: Tensor, boxes: Tensor, network: Mtcnn, options: DetectorOptions
) -> tuple[Float[Tensor, "faces 4"], Float[Tensor, " faces"], Float[Tensor, "faces 5 2"]]:
    """Boxes, scores and landmarks of what the last network calls faces."""
    if not len(boxes):
        return boxes, torch.zeros(0), torch.zeros(0, 5, 2)
    parts = [network.output(part) for part in _windows(photo, boxes, OUTPUT_SIZE)]
    scores, corrections, points = (torch.cat(values) for values in zip(*parts, strict=True))
    passed = scores > options.output_score
    boxes, scores, corrections, points = boxes[passed], scores[passed], corrections[passed], points[passed]
    size = boxes[:, 2:] - boxes[:, :2]
    landmarks = boxes[:, None, :2] + points * size[:, None]
    boxes = _corrected(boxes, corrections)
    kept = suppress(boxes, scores, 0.7, of_smaller=True)
    return boxes[kept], scores[kept], landmarks[kept]


def _corrected(boxes: Tensor, corrections: Tensor) -> Tensor:
    """Boxes moved by corrections in units of their size."""
    return boxes + corrections * (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)


def _squared(boxes: Tensor) -> Tensor:
    """The smallest squares around boxes with the same middle."""
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).amax(dim=1, keepdim=True) / 2
    return torch.cat([middle - half, middle + half], dim=1)


def _windows(photo: Tensor, boxes: Tensor, size: int) -> list[Tensor]:
    """Square windows of a photo in one size, black beyond its edges, in blocks."""
    height, width = photo.shape[2:]
    windows = []
    for box in boxes.round().long().tolist():
        left, top, right, bottom = box
        right, bottom = max(right, left + 1), max(bottom, top + 1)
        part = photo[:, :, max(0, top) : max(0, min(height, bottom)), max(0, left) : max(0, min(width, right))]
        beyond = (max(0, -left), max(0, right - max(width, left)), max(0, -top), max(0, bottom - max(height, top)))
        if any(beyond):
            part = F.pad(part, beyond, value=-127.5 / 128)
        windows.append(F.interpolate(part, size=(size, size), mode="area"))
    return list(torch.cat(windows).split(WINDOWS_AT_A_TIME))
