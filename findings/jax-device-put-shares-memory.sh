#!/usr/bin/env bash
# Expected: jax.device_put(array) is "a copy", with may_alias=False at the latest, as its documentation says.
# Is: jax 0.10.2 on the CPU goes on reading the array of NumPy where that begins at a multiple of 64 bytes, with may_alias=False,
# too: whoever writes to it changes the JAX array. A mapped .npy file always begins so; jnp.asarray copies.
# Matters: data changes, or does not, by where memory happens to lie. The backend makes a copy of its own before device_put.
# 2026-11-27: 0 becomes 7 at offset 0, with may_alias=False and in a mapped file; stays 0 at offsets 4 to 48 and with jnp.asarray
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
uv venv --quiet --python 3.11 venv
uv pip install --quiet --python venv/bin/python jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cat > finding.py <<'END'
import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_platforms", "cpu")


def zeros(offset):
    memory = np.zeros(4096 + 128, np.uint8)
    start = -memory.ctypes.data % 64 + offset
    return memory[start : start + 4096].view(np.float32)


def after_write(array, put):
    given = put(array).block_until_ready()
    array[:] = 7
    return float(given[0])


print("jax", jax.__version__)
at = {offset: after_write(zeros(offset), jax.device_put) for offset in (0, 4, 16, 32, 48)}
no_alias = after_write(zeros(0), lambda array: jax.device_put(array, may_alias=False))
asarray = after_write(zeros(0), jnp.asarray)
np.save("data.npy", np.zeros(1000, np.float32))
mapped = after_write(np.load("data.npy", mmap_mode="r+"), jax.device_put)
print("zeros, after 7 is written to NumPy's array, by its offset:", at)
print("at 0, may_alias=False:", no_alias, "at 0, jnp.asarray:", asarray, "mapped file:", mapped)
assert at == {0: 7, 4: 0, 16: 0, 32: 0, 48: 0} and no_alias == mapped == 7 and asarray == 0
END
venv/bin/python finding.py
