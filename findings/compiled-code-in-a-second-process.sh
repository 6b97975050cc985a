#!/usr/bin/env bash
# Expected: a second process that compiles the same function finds it compiled, or else compiles it again, in all frameworks.
# Is: torch 2.15.0 keeps what torch.compile made on disk for later processes; jax 0.10.2 keeps nothing until it is told where.
# Matters: of several runs, only the first has a cold first step in PyTorch, and each has one in JAX: first steps compare badly.
# 2026-11-27, hits in the first and second process: torch 0 1, jax 0 0, jax with a folder 0 1; torch's call 19 s, then 1.9 s
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
uv venv --quiet --python 3.11 venv
uv pip install --quiet --python venv/bin/python torch==2.15.0 jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cat > with_torch.py <<'END'
import torch
from torch._dynamo.utils import counters

torch.compile(lambda x: torch.sin(x).relu().sum() * 2)(torch.ones(100))
print(counters["inductor"]["fxgraph_cache_hit"])
END
cat > with_jax.py <<'END'
import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_platforms", "cpu")
events = []
jax.monitoring.register_event_listener(lambda event, **_: events.append(event))
jax.jit(lambda x: jnp.sin(x).sum() * 2)(np.ones(100, np.float32)).block_until_ready()
print(events.count("/jax/compilation_cache/cache_hits"))
END
export TORCHINDUCTOR_CACHE_DIR=$folder/inductor  # its default lies in the system's temporary folder
unset JAX_COMPILATION_CACHE_DIR
torch="$(venv/bin/python with_torch.py) $(venv/bin/python with_torch.py)"
jax="$(venv/bin/python with_jax.py) $(venv/bin/python with_jax.py)"
export JAX_COMPILATION_CACHE_DIR=$folder/jax JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0
export JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES=-1
kept="$(venv/bin/python with_jax.py) $(venv/bin/python with_jax.py)"
echo "found compiled, in the first and the second process: torch $torch, jax $jax, jax with a folder $kept"
[ "$torch, $jax, $kept" = "0 1, 0 0, 0 1" ]
