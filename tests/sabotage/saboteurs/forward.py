"""Backends whose outputs are of another model, or of narrower numbers."""

from __future__ import annotations

from tests.sabotage.saboteurs.saboteur import LOGITS, Saboteur


def operation(name: str, description: str, layer: str, function: str) -> Saboteur:
    """A saboteur whose forward pass differs in one layer; ``function`` takes (layer, own, x)."""
    top = f"honest = dict(OPERATIONS)\nOPERATIONS[contract.{layer}] = {function}\n"
    return Saboteur(name, description, LOGITS, top=top)


def precision(name: str, description: str, narrow: str) -> Saboteur:
    """A saboteur whose products take narrower numbers; ``narrow`` is an expression of a float32 array ``x``."""
    top = f"""
    def narrow(x):
        return ({narrow}).astype(np.float32)
    def narrowed(honest):
        def operation(layer, own, x):
            own = {{name: narrow(value.astype(np.float32)) for name, value in own.items()}}
            return honest(layer, own, narrow(x.astype(np.float32)))
        return operation
    for layer, honest in list(OPERATIONS.items()):
        OPERATIONS[layer] = narrowed(honest)
    """
    return Saboteur(name, description, LOGITS, top=top)


SABOTEURS = (
    Saboteur(
        "flatten_hwc",
        "flatten in the order height, width, channels",
        LOGITS,
        top="""
        def flatten(layer, own, x):
            n, c, h, w = x.shape
            back = Back(lambda g: g.reshape(n, h, w, c).transpose(0, 3, 1, 2))
            return x.transpose(0, 2, 3, 1).reshape(n, -1), back
        OPERATIONS[contract.Flatten] = flatten
        """,
    ),
    Saboteur(
        "pool_shifted",
        "max pool begins one row too low",
        LOGITS,
        top="""
        def pool(layer, own, x):
            y, back = max_pool2d(layer, own, np.roll(x, -1, axis=2))
            return y, Back(lambda g: np.roll(back.inputs(g), 1, axis=2))
        OPERATIONS[contract.MaxPool2d] = pool
        """,
    ),
    operation("average_pool", "average instead of max pool", "MaxPool2d", "avg_pool2d"),
    operation(
        "leaky_relu",
        "leaky instead of plain ReLU, slope 0.01",
        "ReLU",
        "lambda layer, own, x: (np.where(x > 0, x, 0.01 * x), Back(lambda g: g * np.where(x > 0, 1, 0.01)))",
    ),
    operation(
        "hard_tanh",
        "hard tanh instead of tanh",
        "Tanh",
        "lambda layer, own, x: (np.clip(x, -1, 1), Back(lambda g: g * (abs(x) < 1)))",
    ),
    operation(
        "flipped_kernels",
        "convolution instead of cross-correlation",
        "Conv2d",
        "lambda layer, own, x: honest[contract.Conv2d](layer, {**own, 'weight': own['weight'][:, :, ::-1, ::-1]}, x)",
    ),
    precision("bfloat16", "bfloat16 arithmetic", "(x.view(np.uint32) + 0x8000 & 0xFFFF0000).view(np.float32)"),
    precision("tf32", "TF32 arithmetic", "(x.view(np.uint32) + 0x1000 & 0xFFFFE000).view(np.float32)"),
    precision("float16", "float16 arithmetic", "x.astype(np.float16)"),
    Saboteur(
        "probabilities",
        "predict returns probabilities",
        LOGITS,
        """
        def predict(self, data):
            logits = np.exp(super().predict(data))
            return logits / logits.sum(axis=1, keepdims=True)
        """,
    ),
    Saboteur(
        "channels_swapped",
        "channels in reverse order",
        LOGITS,
        """
        def put(self, features, labels):
            return super().put(features[:, ::-1], labels)
        """,
    ),
    Saboteur(
        "own_normalisation",
        "features are normalised once more",
        LOGITS,
        """
        def put(self, features, labels):
            return super().put((features - features.mean()) / features.std(), labels)
        """,
    ),
    Saboteur(
        "sorted_predictions",
        "predictions in another order",
        LOGITS,
        """
        def predict(self, data):
            return super().predict(data)[::-1]
        """,
    ),
)
