# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["torch~=2.15.0", "torchvision~=0.29.2", "numpy>=2", "safetensors>=0.5"]
# ///
"""PyTorch: eager, and the forward and backward pass compiled by TorchInductor."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
import torch
import torch._dynamo  # every optimizer of torch.optim imports it when it is made: this way it counts as import
from numpy.typing import NDArray
from torch import nn

from backends import contract
from backends.contract import Backend, Unavailable


class PyTorch(Backend):
    """Data resident on the device, one gather per batch, fused SGD, no host transfer before ``synchronize``."""

    modes = {
        "eager": "torch.nn and fused SGD, one operator at a time",
        "compile": "the same with torch.compile around model and loss",
    }
    devices = ("cpu", "gpu")

    def load(
        self,
        model: contract.Model,
        loss: contract.Loss,
        sgd: contract.SGD,
        parameters: contract.Parameters,
        device: str,
        mode: str,
    ) -> None:
        """Build model, loss and optimizer."""
        if device == "gpu" and not torch.cuda.is_available():
            raise Unavailable("torch.cuda.is_available() is False: PyTorch sees no GPU here")
        # cuDNN uses TF32 unless told otherwise; the comparison is in float32.
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        self.mode = mode
        self.device = torch.device("cuda" if device == "gpu" else "cpu")
        self.model = nn.Sequential(*(_layer(layer) for layer in model.layers))
        # strict: every parameter of the model must be given, and no other.
        self.model.load_state_dict({name: torch.from_numpy(values) for name, values in parameters.items()}, strict=True)
        self.model.to(self.device)
        self.optimizer = torch.optim.SGD(
            self.model.parameters(),
            lr=sgd.learning_rate,
            momentum=sgd.momentum,
            nesterov=sgd.nesterov,
            weight_decay=sgd.weight_decay,
            fused=True,
        )
        loss_function: nn.Module = nn.CrossEntropyLoss() if loss == "cross-entropy" else nn.MSELoss()

        def forward(features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return loss_function(self.model(features), labels)

        self.loss = torch.compile(forward) if mode == "compile" else forward
        self.logits = torch.compile(self.model) if mode == "compile" else self.model

    def put(self, features: NDArray[np.float32], labels: NDArray[Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Copy the arrays into tensors on the device; class labels become int64, as CrossEntropyLoss wants them."""
        label_tensor = torch.tensor(labels, device=self.device)
        if not label_tensor.is_floating_point():
            label_tensor = label_tensor.long()
        return torch.tensor(features, device=self.device), label_tensor

    def train(self, data: tuple[torch.Tensor, torch.Tensor], batches: NDArray[np.int64]) -> torch.Tensor:
        """Take the steps; the returned tensor of losses stays on the device."""
        features, labels = data
        losses = []
        for batch in torch.from_numpy(batches).to(self.device):
            loss = self.loss(features[batch], labels[batch])
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            losses.append(loss.detach())
        return torch.stack(losses)

    def synchronize(self, handle: torch.Tensor) -> NDArray[np.float32]:
        """Wait for the device's queue; on the CPU every operator has finished when it returns."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return handle.cpu().numpy()

    @torch.no_grad()
    def predict(self, data: tuple[torch.Tensor, torch.Tensor]) -> NDArray[np.float32]:
        """Run the model without recording gradients."""
        return self.logits(data[0]).cpu().numpy()

    def parameters(self) -> contract.Parameters:
        """Copy the parameters to the host; torch's layouts are the canonical ones."""
        return {name: values.cpu().numpy().copy() for name, values in self.model.state_dict().items()}

    def describe(self) -> dict[str, Any]:
        """Versions and settings in force."""
        tf32 = torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32
        gpu = self.device.type == "cuda"
        return {
            "versions": {"torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version()},
            "device": torch.cuda.get_device_name() if gpu else "cpu",
            "threads": torch.get_num_threads(),
            "precision": "tf32" if tf32 and gpu else "float32",
            "peak_memory_bytes": torch.cuda.max_memory_allocated() if gpu else None,
            "blas": "mkl" if torch.backends.mkl.is_available() else "other",
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "sgd": "fused" if self.optimizer.defaults["fused"] else "foreach",
        }


def _layer(layer: contract.Layer) -> nn.Module:
    match layer:
        case contract.Flatten():
            return nn.Flatten()
        case contract.Linear(inputs, outputs):
            return nn.Linear(inputs, outputs)
        case contract.Conv2d(inputs, outputs, kernel, stride, padding):
            return nn.Conv2d(inputs, outputs, kernel, stride, padding)
        case contract.MaxPool2d(kernel, stride):
            return nn.MaxPool2d(kernel, stride)
        case contract.AvgPool2d(kernel, stride):
            return nn.AvgPool2d(kernel, stride)
        case contract.ReLU():
            return nn.ReLU()
        case contract.Tanh():
            return nn.Tanh()
    raise Unavailable(f"no such layer in this backend: {layer}")
