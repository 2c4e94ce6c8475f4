"""Chooses Keras's backend and device. Call `select` before anything imports keras."""

import importlib.util
import os
import sys
from typing import Literal, get_args

from recipe import Recipe
from recipe.errors import UnavailableError
from record.isolation import hide

Backend = Literal["tensorflow", "torch", "jax"]
Device = Literal["auto", "cpu", "gpu"]


def select(backend: str, device: str, recipe: Recipe) -> None:
    """Makes `import keras` use this backend, device, dtype and matmul precision.

    "auto" is an NVIDIA GPU where the backend finds one, else the CPU, as in Lightning's implementation. What variables
    such as CUDA_VISIBLE_DEVICES, JAX_PLATFORMS and KERAS_TORCH_DEVICE say holds, unless "cpu" is asked for.

    Raises:
        UnavailableError: The backend is not installed, or "gpu" was asked for and it finds none; or float64 was, on a
            Mac's GPU, which has none.
    """
    if importlib.util.find_spec(backend) is None:
        raise UnavailableError(f"Keras's {backend} backend is not installed; install it with: pip install {backend}")
    # Keras imports the other frameworks where it finds them, TensorFlow as soon as `fit` is called.
    # Two of them in one process have crashed and hung.
    hide({*get_args(Backend)} - {backend})
    os.environ["KERAS_BACKEND"] = backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
        os.environ["JAX_PLATFORMS"] = "cpu"
        os.environ["KERAS_TORCH_DEVICE"] = "cpu"
    on_cpu = device == "cpu" or (device == "auto" and sys.platform == "darwin")
    if on_cpu:
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
    if backend == "torch":
        import torch

        # By itself Keras would take a Mac's GPU, which has no float64, whatever device was asked for.
        named = os.environ.setdefault("KERAS_TORCH_DEVICE", "cuda" if torch.cuda.is_available() else "cpu")
        if named.startswith("mps") and recipe.dtype == "float64":
            raise UnavailableError("a Mac's GPU has no float64; ask for --device cpu, or --recipe.dtype float32")

    import keras

    keras.config.set_floatx(recipe.dtype)
    if backend == "tensorflow":
        _configure_tensorflow(recipe, hide_gpus=on_cpu)
    else:
        {"torch": _configure_torch, "jax": _configure_jax}[backend](recipe)
    if device == "gpu" and current_device() == "cpu":
        raise UnavailableError(
            f"a GPU was asked for, but Keras on {backend} finds none; check the driver, that {backend} is installed "
            "with GPU support, and variables such as CUDA_VISIBLE_DEVICES, or ask for --device cpu"
        )


def _configure_tensorflow(recipe: Recipe, *, hide_gpus: bool) -> None:
    import tensorflow as tf

    if hide_gpus:
        tf.config.set_visible_devices([], "GPU")
    if threads := os.environ.get("OMP_NUM_THREADS"):
        tf.config.threading.set_intra_op_parallelism_threads(int(threads))
        tf.config.threading.set_inter_op_parallelism_threads(int(threads))
    if recipe.matmul_precision == "shared":
        tf.config.experimental.enable_tensor_float_32_execution(False)


def _configure_torch(recipe: Recipe) -> None:
    import torch

    torch.set_flush_denormal(True)  # as TensorFlow and XLA do
    if recipe.matmul_precision == "shared":
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False  # of convolutions, which by default may
        # On torch, Keras promotes two float64 tensors to float32 (`_lattice_result_type` in
        # keras/src/backend/common/dtypes.py, "to be aligned with JAX's default behavior"), so that a
        # float64 model multiplies its matrices in float32. There is no public way to ask otherwise.
        from keras.src.backend.common import dtypes

        dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"


def _configure_jax(recipe: Recipe) -> None:
    import jax

    jax.config.update("jax_enable_x64", recipe.dtype == "float64")
    if recipe.matmul_precision == "shared":
        jax.config.update("jax_default_matmul_precision", "highest")


def current_device() -> str:
    """The kind of device that Keras computes on: "cpu" or "gpu"."""
    import keras

    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return "gpu" if tf.config.get_visible_devices("GPU") else "cpu"
    if backend == "torch":
        return "cpu" if os.environ["KERAS_TORCH_DEVICE"].startswith("cpu") else "gpu"
    import jax

    return "cpu" if jax.default_backend() == "cpu" else "gpu"


def peak_gpu_memory_bytes() -> int | None:
    """The most of the GPU's memory that the backend's allocator has given out; None where it computes on none."""
    import keras

    if current_device() == "cpu":
        return None
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.config.experimental.get_memory_info("GPU:0")["peak"]
    if keras.backend.backend() == "torch":
        import torch

        return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    import jax

    return (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")


def num_threads() -> int:
    """How many threads one operation may use on the CPU."""
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.config.threading.get_intra_op_parallelism_threads() or os.cpu_count() or 1
    if keras.backend.backend() == "torch":
        import torch

        return torch.get_num_threads()
    return int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)


def tf32(*, convolves: bool) -> bool:
    """Whether float32 matrix products, or convolutions, may be computed in TF32 where the GPU has it."""
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.config.experimental.tensor_float_32_execution_enabled()
    if keras.backend.backend() == "torch":
        import torch

        return torch.get_float32_matmul_precision() != "highest" or (convolves and torch.backends.cudnn.allow_tf32)
    import jax

    return jax.config.jax_default_matmul_precision not in ("highest", "float32")
