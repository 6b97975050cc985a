#!/usr/bin/env bash
# Expected: OMP_NUM_THREADS=1, or XLA's flag for a single-threaded Eigen, makes JAX compute with one thread on the CPU.
# Is: with jax 0.10.2, both leave its pool as it is, one thread for each processor of the process's affinity; NPROC=1 and an
# affinity of one processor change it.
# Matters: to set OMP_NUM_THREADS for all frameworks gives JAX more processors than the others. lockstep sets affinities.
# 2026-11-27 (2 cores): threads as it comes 2, OMP_NUM_THREADS=1 2, the flag 2, NPROC=1 1, affinity 1
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
unset OMP_NUM_THREADS XLA_FLAGS NPROC
uv venv --quiet --python 3.11 venv
uv pip install --quiet --python venv/bin/python jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cat > count.py <<'END'
import os
import sys
from pathlib import Path

if "--one" in sys.argv:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

jax.config.update("jax_platforms", "cpu")
matrix = jnp.ones((1000, 1000))
(matrix @ matrix).block_until_ready()
threads = [thread.read_text().strip() for thread in Path("/proc/self/task").glob("*/comm")]
print(threads.count("tf_XLAEigen"))
END
processors=$(venv/bin/python -c 'import os; print(len(os.sched_getaffinity(0)))')
default=$(venv/bin/python count.py)
omp=$(OMP_NUM_THREADS=1 venv/bin/python count.py)
flag=$(XLA_FLAGS=--xla_cpu_multi_thread_eigen=false venv/bin/python count.py)
nproc=$(NPROC=1 venv/bin/python count.py)
affinity=$(venv/bin/python count.py --one)
echo "jax 0.10.2, $processors processors; threads as it comes $default, OMP_NUM_THREADS=1 $omp, the flag $flag," \
  "NPROC=1 $nproc, affinity of one $affinity"
[ "$default $omp $flag $nproc $affinity" = "$processors $processors $processors 1 1" ]
