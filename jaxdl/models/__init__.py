"""Models: Flax Linen modules, called with the task's inputs by keyword and `train`."""

from jaxdl.models.bert import Bert, roberta
from jaxdl.models.clip import CLIP, ClipText, clip_vit
from jaxdl.models.conformer import Conformer
from jaxdl.models.convnext import ConvNeXt
from jaxdl.models.efficientnet import EfficientNet
from jaxdl.models.gpt2 import GPT2
from jaxdl.models.lenet import LeNet
from jaxdl.models.llama import Llama
from jaxdl.models.lora import LoRA
from jaxdl.models.mlp import MLP
from jaxdl.models.mlp_mixer import MLPMixer
from jaxdl.models.mobilenet_v2 import MobileNetV2
from jaxdl.models.mobilenet_v3 import MobileNetV3
from jaxdl.models.recurrent import BagOfEmbeddings, RecurrentClassifier, RecurrentLanguageModel
from jaxdl.models.resnet import ResNet
from jaxdl.models.resnet_cifar import CifarResNet
from jaxdl.models.seq2seq import RecurrentSeq2Seq
from jaxdl.models.t5 import T5
from jaxdl.models.text_heads import MaskedLanguageModel, SentenceEncoder, SpanExtractor, TextClassifier
from jaxdl.models.transformer import Transformer
from jaxdl.models.unet import UNet
from jaxdl.models.vgg import VGG
from jaxdl.models.vit import ViT
from jaxdl.models.whisper import Whisper
from jaxdl.models.wide_resnet import WideResNet

__all__ = [
    "CLIP",
    "GPT2",
    "MLP",
    "T5",
    "VGG",
    "BagOfEmbeddings",
    "Bert",
    "CifarResNet",
    "ClipText",
    "Conformer",
    "ConvNeXt",
    "EfficientNet",
    "LeNet",
    "Llama",
    "LoRA",
    "MLPMixer",
    "MaskedLanguageModel",
    "MobileNetV2",
    "MobileNetV3",
    "RecurrentClassifier",
    "RecurrentLanguageModel",
    "RecurrentSeq2Seq",
    "ResNet",
    "SentenceEncoder",
    "SpanExtractor",
    "TextClassifier",
    "Transformer",
    "UNet",
    "ViT",
    "Whisper",
    "WideResNet",
    "clip_vit",
    "roberta",
]
