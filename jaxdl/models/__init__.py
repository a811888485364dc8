"""Models: Flax Linen modules `(image, *, train) -> outputs`."""

from jaxdl.models.lenet import LeNet
from jaxdl.models.mlp import MLP
from jaxdl.models.resnet import ResNet
from jaxdl.models.resnet_cifar import CifarResNet

__all__ = ["MLP", "CifarResNet", "LeNet", "ResNet"]
