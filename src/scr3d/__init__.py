"""Structural causal 3D reconstruction from single photos.

    import scr3d

    model = scr3d.load()                          # the shipped model; scr3d.load("runs/mine") for your own
    face = model.reconstruct("face.jpg")          # a path, an image of Pillow, an array or a tensor
    face.depth, face.albedo, face.normal, face.view, face.light
    face.relight(x=0.8), face.turn(yaw_deg=30)    # pictures, Float[Tensor, "3 256 256"]
    face.export("face.glb")
    model.intervene("face.jpg", do="light=from:other.jpg").after.image

Training, search, evaluation and benchmark are functions of the same configurations as the command line:
`train(TrainConfig)`, `search_orders(SearchConfig)`, `evaluate(run, EvaluateConfig)`, `run_benchmark(BenchmarkConfig)`.
The parts are usable by themselves: `scr3d.causal`, `scr3d.rendering`, `scr3d.geometry`, `scr3d.losses`,
`scr3d.metrics`, `scr3d.search`, `scr3d.interventions`. Importing this package imports nothing heavy; what is asked for
is imported then.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scr3d.api.model import Model, load
    from scr3d.api.photo import Photo
    from scr3d.api.result import PhotoIntervention, PhotoReconstruction
    from scr3d.benchmark.config import BenchmarkConfig
    from scr3d.commands.benchmark import measure as run_benchmark
    from scr3d.errors import Scr3dError
    from scr3d.evaluation import Evaluation, evaluate
    from scr3d.evaluation_config import EvaluateConfig
    from scr3d.export.options import ReconstructOptions
    from scr3d.factors import Factors, Light, View
    from scr3d.models.autoencoder import PhotoGeometricAutoencoder
    from scr3d.models.config import ModelConfig
    from scr3d.names import FACTORS, Factor
    from scr3d.reconstruct import reconstruct_files
    from scr3d.search.config import SearchConfig
    from scr3d.search.study import search as search_orders
    from scr3d.training.config import TrainConfig
    from scr3d.training.trainer import train

__version__ = "0.1.0"

_HOMES = {
    "BenchmarkConfig": "benchmark.config",
    "FACTORS": "names",
    "EvaluateConfig": "evaluation_config",
    "Evaluation": "evaluation",
    "Factor": "names",
    "Factors": "factors",
    "Light": "factors",
    "Model": "api.model",
    "ModelConfig": "models.config",
    "Photo": "api.photo",
    "PhotoGeometricAutoencoder": "models.autoencoder",
    "PhotoIntervention": "api.result",
    "PhotoReconstruction": "api.result",
    "ReconstructOptions": "export.options",
    "Scr3dError": "errors",
    "SearchConfig": "search.config",
    "TrainConfig": "training.config",
    "View": "factors",
    "evaluate": "evaluation",
    "load": "api.model",
    "reconstruct_files": "reconstruct",
    "run_benchmark": "commands.benchmark:measure",
    "search_orders": "search.study:search",
    "train": "training.trainer",
}
"""The module of every public name, and its name there if that is another."""

EXTRAS = {"search": "search"}
"""Packages that need an extra, and its name."""

__all__ = [
    "FACTORS",
    "BenchmarkConfig",
    "EvaluateConfig",
    "Evaluation",
    "Factor",
    "Factors",
    "Light",
    "Model",
    "ModelConfig",
    "Photo",
    "PhotoGeometricAutoencoder",
    "PhotoIntervention",
    "PhotoReconstruction",
    "ReconstructOptions",
    "Scr3dError",
    "SearchConfig",
    "TrainConfig",
    "View",
    "__version__",
    "evaluate",
    "load",
    "reconstruct_files",
    "run_benchmark",
    "search_orders",
    "train",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from scr3d.lazy import import_name

    module, _, other = home.partition(":")
    return import_name(f"{__name__}.{module}", other or name, EXTRAS.get(module.partition(".")[0]))


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
