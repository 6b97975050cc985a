"""Backends whose residual blocks, groups, paddings or pools are other ones."""

from __future__ import annotations

from tests.sabotage.saboteurs.saboteur import FIRST_STEP, LOGITS, edited

SUM = "x = rounded(y + z, how.rounding)"
CHAIN = "training._chain"
CONV = "windows.conv2d"
START = "_, c, h, w = x.shape"
PADDED = "padded = _with_zeros(x.transpose(1, 2, 3, 0), layer.padding)"

SABOTEURS = (
    edited("block_without_shortcut", "the shortcut is forgotten", LOGITS, CHAIN, {SUM: "x = y"}),
    edited("block_without_layers", "nothing but the shortcut", LOGITS, CHAIN, {SUM: "x = z"}),
    edited(
        "block_activated_before_sum",
        "the activation is applied to the branch, not to the sum",
        LOGITS,
        CHAIN,
        {SUM: "x = np.where(y > 0, y, 0.1 * y) + z"},
    ),
    edited(
        "block_shortcut_too_early",
        "the identity is taken before the activation that comes before the block",
        LOGITS,
        CHAIN,
        {
            "for i, layer in": "early = x\n    for i, layer in",
            "(layer.shortcut, parameters, x, ": "(layer.shortcut, parameters, x if layer.shortcut else early, ",
            "x, back = _layer(": "early = x\n            x, back = _layer(",
        },
    ),
    edited(
        "block_shortcut_has_no_gradient",
        "no gradient goes through the shortcut",
        FIRST_STEP,
        "training._back",
        {"shares[0] + shares[1]": "shares[0]"},
    ),
    edited(
        "block_shortcut_not_learned",
        "the optimizer does not know of the shortcut's parameters",
        FIRST_STEP,
        "training.backward",
        {"return gradients": 'return {name: g for name, g in gradients.items() if "shortcut" not in name}'},
    ),
    edited(
        "conv_odd_pixels",
        "a stride of 2 takes odd instead of even pixels in the shortcut",
        LOGITS,
        CONV,
        {"x.transpose(": "(np.roll(x, (-1, -1), (2, 3)) if layer.stride > layer.kernel else x).transpose("},
    ),
    edited(
        "conv_padded_at_the_end",
        'a stride of 2 has its padding at the bottom and on the right, as "same" has it',
        LOGITS,
        CONV,
        {
            PADDED: f"{PADDED}\n    if layer.stride == (2, 2):\n"
            "        padded, top, left = np.roll(padded, (-top, -left), (1, 2)), 0, 0"
        },
    ),
    edited(
        "conv_sides_swapped",
        "width and height of kernel and padding swapped",
        LOGITS,
        CONV,
        {
            START: "from dataclasses import replace\n"
            f"    layer = replace(layer, kernel=layer.kernel[::-1], padding=layer.padding[::-1])\n    {START}"
        },
    ),
    edited(
        "conv_channels_interleaved",
        "a group takes every second channel rather than neighbours",
        LOGITS,
        CONV,
        {START: f"{START}\n    x = x[:, np.arange(c).reshape(-1, layer.groups).T.ravel()]"},
    ),
    edited(
        "conv_groups_see_the_first",
        "every group sees the channels of the first",
        LOGITS,
        CONV,
        {START: f"{START}\n    x = x[:, np.arange(c) % (c // layer.groups)]"},
    ),
    edited(
        "conv_multiplier_first",
        "depthwise outputs in the order multiplier, channels",
        LOGITS,
        CONV,
        {
            "return y.transpose(3, 0, 1, 2)": "order = np.arange(layer.outputs).reshape(groups, -1).T.ravel()\n"
            "    return y.transpose(3, 0, 1, 2)[:, order]"
        },
    ),
    edited(
        "pool_padding_not_counted",
        "an average pool does not count its padding",
        LOGITS,
        "windows.avg_pool2d",
        {
            "/ size, Back": "/ reduce(np.add, places(_padded(np.ones_like(x), layer.padding, 0.0), layer.kernel, "
            "layer.stride)), Back"
        },
    ),
    edited(
        "pool_padded_with_zeros",
        "a max pool is padded with zeros, also where all is negative",
        LOGITS,
        "windows.max_pool2d",
        {"-np.inf": "0.0"},
    ),
    edited(
        "pool_overlaps_overwritten",
        "where windows of a max pool overlap, one of them gives its gradient",
        FIRST_STEP,
        "windows.max_pool2d",
        {"place += g * taken": "np.copyto(place, g, where=taken)"},
    ),
    edited(
        "pool_global_maximum",
        "the largest instead of the mean of each channel",
        LOGITS,
        "windows.global_avg_pool2d",
        {"x.mean(axis=(2, 3))": "x.max(axis=(2, 3))"},
    ),
)
