"""Rasterising with VTK, whose OpenGL runs in software by Mesa's llvmpipe."""

from __future__ import annotations

import math
import os

import numpy as np
import torch
from torch import Tensor
from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray, vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkFloatArray, vtkPoints
from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData
from vtkmodules.vtkRenderingCore import vtkActor, vtkPolyDataMapper, vtkRenderer
from vtkmodules.vtkRenderingOpenGL2 import vtkEGLRenderWindow

from peer_renderers.common import Peer, Task
from peer_renderers.llvmpipe import FAR, NEAR, depth_from_buffer, threads_of_llvmpipe
from scr3d.factors import View


class Renderer(Peer):
    title = "VTK, llvmpipe"
    package = "vtk"
    setting = "one mesh whose corners are replaced, a rendering without lights and a download of depths for each map"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        os.environ["LP_NUM_THREADS"] = threads_of_llvmpipe(task.threads)
        camera = task.camera
        _, triangles = self.pixels()
        cells = vtkCellArray()
        cells.SetData(3, numpy_to_vtkIdTypeArray(triangles.numpy().astype(np.int64).ravel(), deep=1))
        self.mesh = vtkPolyData()
        self.mesh.SetPoints(vtkPoints())
        self.mesh.SetPolys(cells)
        mapper = vtkPolyDataMapper()
        mapper.SetInputData(self.mesh)
        mapper.SetStatic(False)
        actor = vtkActor()
        actor.SetMapper(mapper)
        actor.GetProperty().LightingOff()
        self.renderer = vtkRenderer()
        self.renderer.AddActor(actor)
        eye = self.renderer.GetActiveCamera()
        eye.SetPosition(0, 0, 0)
        eye.SetFocalPoint(0, 0, 1)
        eye.SetViewUp(0, -1, 0)
        # The frame ends half a pixel beyond the outermost pixel centres.
        eye.SetViewAngle(math.degrees(2 * math.atan(camera.height / 2 / camera.focal_px)))
        eye.SetClippingRange(NEAR, FAR)
        self.window = vtkEGLRenderWindow()
        self.window.SetOffScreenRendering(True)
        self.window.SetMultiSamples(0)
        self.window.SetSize(camera.width, camera.height)
        self.window.AddRenderer(self.renderer)
        self.found = torch.empty(task.shape)

    def build(self, depth: Tensor, view: View) -> None:
        self.corners = self.points(depth, view).mT.contiguous().numpy()

    def query(self) -> tuple[Tensor, Tensor]:
        height, width = self.task.camera.height, self.task.camera.width
        buffer = vtkFloatArray()
        for corners, into in zip(self.corners, self.found, strict=True):
            self.mesh.GetPoints().SetData(numpy_to_vtk(corners))
            self.mesh.GetPoints().Modified()
            self.window.Render()
            self.window.GetZbufferData(0, 0, width - 1, height - 1, buffer)
            # Rows from below, and y up.
            depths = depth_from_buffer(vtk_to_numpy(buffer)).reshape(height, width)
            into.copy_(torch.from_numpy(depths[::-1].copy()))
        return self.seen(self.found)

    def close(self) -> None:
        self.window.Finalize()
