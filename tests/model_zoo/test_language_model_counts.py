"""Language models and the phases that train with them: published parameter counts, and modules of transformers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from model_zoo.architectures import image_tower_architecture
from model_zoo.language_model_counts import DecoderArchitecture, count_decoder, decoder_architecture
from model_zoo.phase_counts import MlpMapping, TransformerMapping, captioning_phase, conversation_phase
from model_zoo.tower_counts import count_image_tower
from scaling.profile.flops import count_dispatched

CAPTION_TOKENS = 20
ROTARY = 1e-6  # what rotary angles take, a product of positions and frequencies that we leave out


@pytest.fixture(autouse=True)
def _without_memory() -> Iterator[None]:
    """Every tensor is a shape on the CPU."""
    with FakeTensorMode():
        yield


@pytest.mark.parametrize(
    "name, parameters",
    [
        ("gpt2", 124_439_808),  # the released checkpoints, as transformers counts them
        ("gpt2_medium", 354_823_168),
        ("gpt2_large", 774_030_080),
        ("gpt2_xl", 1_557_611_200),
        ("llama_7b", 6_738_415_616),
        ("qwen2.5_0.5b", 494_032_768),
    ],
)
def test_language_models_have_their_published_numbers_of_parameters(name: str, parameters: int) -> None:
    assert count_decoder(decoder_architecture(name), num_tokens=1).parameters == parameters


def test_an_unknown_language_model_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown language model 'gpt_2'. Did you mean 'gpt2'"):
        decoder_architecture("gpt_2")


def small(name: str) -> tuple[DecoderArchitecture, nn.Module]:
    """A decoder of two blocks, by us and by transformers."""
    decoder = dataclasses.replace(decoder_architecture(name), depth=2)
    head_width = 64
    shape = {
        "hidden_size": decoder.width,
        "num_hidden_layers": 2,
        "intermediate_size": decoder.mlp_width,
        "vocab_size": decoder.vocabulary_size,
        "num_attention_heads": decoder.width // head_width,
        "num_key_value_heads": decoder.key_width // head_width,
        "tie_word_embeddings": decoder.ties_embedding,
    }
    if name == "gpt2":
        return decoder, GPT2LMHeadModel(GPT2Config(n_layer=2))
    if name == "llama_7b":
        return decoder, LlamaForCausalLM(LlamaConfig(**shape))
    return decoder, Qwen2ForCausalLM(Qwen2Config(**shape))


@pytest.mark.parametrize("is_frozen", [False, True])
@pytest.mark.parametrize("name", ["gpt2", "llama_7b", "qwen2.5_0.5b"])
def test_decoders_compute_what_is_counted_whether_they_train_or_pass_gradients_on(
    name: str, is_frozen: bool
) -> None:
    decoder, module = small(name)
    module.requires_grad_(not is_frozen)
    inputs_BLD = torch.empty(1, CAPTION_TOKENS, decoder.width, requires_grad=True)
    count = count_decoder(decoder, num_tokens=CAPTION_TOKENS)
    assert count.parameters == sum(parameter.numel() for parameter in module.parameters())
    forward = count_dispatched(lambda: module(inputs_embeds=inputs_BLD))
    train = count_dispatched(lambda: module(inputs_embeds=inputs_BLD).logits.sum().backward())
    expected = count.forward_flops, count.train_flops(is_frozen=is_frozen)
    assert (forward, train) == pytest.approx(expected, rel=ROTARY)


class Mapper(nn.Module):
    """ClipCap's transformer of torch's own layers, which have biases on queries, keys and values besides."""

    def __init__(self, feature_width: int, width: int, mapping: TransformerMapping) -> None:
        super().__init__()
        self.mapping, self.width = mapping, width
        self.linear = nn.Linear(feature_width, mapping.feature_tokens * width)
        self.constants = nn.Parameter(torch.empty(mapping.prefix_tokens, width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 8, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
            for _ in range(mapping.depth)
        )

    def forward(self, features_BD: Tensor) -> Tensor:
        tokens_BLD = self.linear(features_BD).view(len(features_BD), -1, self.width)
        x_BLD = torch.cat([tokens_BLD, self.constants.expand(len(features_BD), -1, -1)], dim=1)
        for layer in self.layers:
            x_BLD = layer(x_BLD)
        return x_BLD[:, self.mapping.feature_tokens :]


def mlp(feature_width: int, width: int, mapping: MlpMapping) -> nn.Module:
    outputs = mapping.prefix_tokens * width
    return nn.Sequential(
        nn.Linear(feature_width, outputs // 2),
        nn.Tanh(),
        nn.Linear(outputs // 2, outputs),
        nn.Unflatten(1, (mapping.prefix_tokens, width)),
    )


@pytest.mark.parametrize("trains_decoder", [False, True])
@pytest.mark.parametrize("mapping", [MlpMapping(), TransformerMapping(prefix_tokens=10, feature_tokens=12)])
def test_captioning_computes_what_is_counted(
    mapping: MlpMapping | TransformerMapping, trains_decoder: bool
) -> None:
    decoder, language_model = small("gpt2")
    language_model.requires_grad_(trains_decoder)
    maps: Any = (
        mlp(384, decoder.width, mapping)
        if isinstance(mapping, MlpMapping)
        else Mapper(384, decoder.width, mapping)
    )
    features_BD = torch.empty(1, 384)
    captions_BLD = torch.empty(1, CAPTION_TOKENS, decoder.width)

    def step() -> None:
        inputs_BLD = torch.cat([maps(features_BD), captions_BLD], dim=1)
        language_model(inputs_embeds=inputs_BLD).logits.sum().backward()

    phase = captioning_phase(
        feature_width=384,
        mapping=mapping,
        decoder=decoder,
        trains_decoder=trains_decoder,
        caption_tokens=CAPTION_TOKENS,
    )
    assert phase.train_flops == count_dispatched(step)
    trained = sum(p.numel() for part in (maps, language_model) for p in part.parameters() if p.requires_grad)
    foreign = 0 if isinstance(mapping, MlpMapping) else mapping.depth * 3 * decoder.width
    assert phase.trained_parameters == trained - foreign


def test_clipcap_trains_the_published_numbers_of_parameters() -> None:
    """Table 1 of arXiv 2111.09734: 156M with GPT-2, 43M without; the latter from RN50x4 features, 640 wide."""
    gpt2 = decoder_architecture("gpt2")
    tuned = captioning_phase(
        feature_width=512, mapping=MlpMapping(), decoder=gpt2, trains_decoder=True, caption_tokens=1
    )
    frozen = captioning_phase(
        feature_width=640,
        mapping=TransformerMapping(prefix_tokens=10, feature_tokens=10),
        decoder=gpt2,
        trains_decoder=False,
        caption_tokens=1,
    )
    assert tuned.trained_parameters == pytest.approx(156e6, abs=0.5e6)
    assert frozen.trained_parameters == pytest.approx(43e6, abs=0.5e6)
    assert frozen.frozen_parameters == 124_439_808


@pytest.mark.parametrize("trains_decoder", [False, True])
def test_conversation_computes_what_is_counted_after_a_forward_pass_of_the_tower(
    trains_decoder: bool,
) -> None:
    decoder, language_model = small("llama_7b")
    language_model.requires_grad_(trains_decoder)
    architecture = image_tower_architecture("vit_s16")
    image = count_image_tower(architecture, image_size=224, pooling=None)
    num_patches = architecture.num_patches(224)
    projector = nn.Sequential(
        nn.Linear(384, decoder.width), nn.GELU(), nn.Linear(decoder.width, decoder.width)
    )
    patches_BPD = torch.empty(1, num_patches, 384)
    text_BLD = torch.empty(1, CAPTION_TOKENS, decoder.width)

    def step() -> None:
        inputs_BLD = torch.cat([projector(patches_BPD), text_BLD], dim=1)
        language_model(inputs_embeds=inputs_BLD).logits.sum().backward()

    phase = conversation_phase(
        image=image,
        feature_width=384,
        num_patches=num_patches,
        decoder=decoder,
        trains_decoder=trains_decoder,
        text_tokens=CAPTION_TOKENS,
    )
    assert phase.train_flops - image.forward_flops == pytest.approx(count_dispatched(step), rel=ROTARY)
    projected = sum(parameter.numel() for parameter in projector.parameters())
    language = sum(parameter.numel() for parameter in language_model.parameters())
    assert phase.trained_parameters == projected + trains_decoder * language
    assert phase.frozen_parameters == image.parameters + (not trains_decoder) * language
