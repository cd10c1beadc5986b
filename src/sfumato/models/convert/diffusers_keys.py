"""The keys of the config.json of diffusers' U-Nets: which there are, what they default to, what they may be here."""

from __future__ import annotations

from typing import Any

__all__ = [
    "BLOCKS",
    "CONDITIONAL",
    "DEFAULTS",
    "IDLE",
    "ONLY",
    "PADDINGS",
    "PLAIN",
    "TIME_EMBEDDINGS",
    "TIME_ENCODINGS",
]

PLAIN, CONDITIONAL = "UNet2DModel", "UNet2DConditionModel"

_DEFAULTS: dict[str, Any] = {
    "freq_shift": 0,
    "flip_sin_to_cos": True,
    "layers_per_block": 2,
    "downsample_padding": 1,
    "dropout": 0.0,
    "attention_head_dim": 8,
    "norm_num_groups": 32,
    "norm_eps": 1e-5,
    "resnet_time_scale_shift": "default",
    "num_class_embeds": None,
    "time_embedding_dim": None,
}
# what diffusers takes for a value that a config.json does not name
DEFAULTS: dict[str, dict[str, Any]] = {
    PLAIN: _DEFAULTS
    | {
        "in_channels": 3,
        "out_channels": 3,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"],
        "up_block_types": ["AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
        "block_out_channels": [224, 448, 672, 896],
        "downsample_type": "conv",
        "upsample_type": "conv",
        "attn_norm_num_groups": None,
        "add_attention": True,
    },
    CONDITIONAL: _DEFAULTS
    | {
        "in_channels": 4,
        "out_channels": 4,
        "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
        "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
        "block_out_channels": [320, 640, 1280, 1280],
        "cross_attention_dim": 1280,
        "transformer_layers_per_block": 1,
    },
}
_ONLY: dict[str, tuple[Any, ...]] = {
    "center_input_sample": (False,),
    "act_fn": ("silu", "swish"),
    "mid_block_scale_factor": (1,),
    "time_embedding_type": ("positional",),
    "class_embed_type": (None,),
}
# what can have one value here; several that mean the same
ONLY: dict[str, dict[str, tuple[Any, ...]]] = {
    PLAIN: _ONLY | {"mid_block_type": ("UNetMidBlock2D",)},
    CONDITIONAL: _ONLY
    | {
        "mid_block_type": ("UNetMidBlock2DCrossAttn",),
        "only_cross_attention": (False,),
        "reverse_transformer_layers_per_block": (None,),
        "encoder_hid_dim": (None,),
        "encoder_hid_dim_type": (None,),
        "num_attention_heads": (None,),
        "dual_cross_attention": (False,),
        "addition_embed_type": (None,),
        "resnet_skip_time_act": (False,),
        "resnet_out_scale_factor": (1.0,),
        "time_embedding_act_fn": (None,),
        "timestep_post_act": (None,),
        "time_cond_proj_dim": (None,),
        "conv_in_kernel": (3,),
        "conv_out_kernel": (3,),
        "attention_type": ("default",),
        "class_embeddings_concat": (False,),
        "mid_block_only_cross_attention": (None, False),
        "cross_attention_norm": (None,),
    },
}
# what changes no number, given the above
IDLE = {
    PLAIN: {"sample_size", "num_train_timesteps"},
    CONDITIONAL: {
        "sample_size",
        "use_linear_projection",
        "upcast_attention",
        "addition_time_embed_dim",
        "addition_embed_type_num_heads",
        "projection_class_embeddings_input_dim",
    },
}
# block type of a level on the way down -> whether it attends, and how it changes resolution (none: as the config says)
BLOCKS: dict[str, dict[str, tuple[bool, str | None]]] = {
    PLAIN: {
        "DownBlock2D": (False, "conv"),
        "AttnDownBlock2D": (True, None),
        "ResnetDownsampleBlock2D": (False, "resnet"),
    },
    CONDITIONAL: {
        "DownBlock2D": (False, "conv"),
        "CrossAttnDownBlock2D": (True, "conv"),
        "ResnetDownsampleBlock2D": (False, "resnet"),
    },
}
TIME_ENCODINGS = {(False, 1): "ddpm", (True, 0): "adm"}  # flip_sin_to_cos, freq_shift
TIME_EMBEDDINGS = {"default": "shift", "scale_shift": "scale-shift"}
PADDINGS = {1: "conv", 0: "conv-end"}
