"""Number formats and compilation."""

from differences.entry import Difference, Mend, Place

_NOT_RUN = "read in source, not run: it needs an NVIDIA GPU; the snippets show the setting"

ENTRIES = (
    Difference(
        name="constants-float32",
        area="precision",
        title="Python constants pass through float32",
        keras="ops.cast of a Python float goes through float32 on TensorFlow, also to float64: β, momentum, decay "
        "and L2 factors.",
        torch="Python floats are doubles.",
        keras_place=Place("keras/src/backend/tensorflow/core.py", "cast", "return tf.cast(x, dtype=dtype)"),
        torch_place=Place("torch/optim/adam.py", "_single_tensor_adam", "bias_correction2 = 1 - beta2**step"),
        seen="0.999 becomes 0.9990000128746033: 1.3e-8 of itself. Adam's first step in float64 is 7e-6 apart, for "
        "1 - β₂ is.",
        matters="no; it keeps two aligned runs in float64 from agreeing to the last digit",
        given="beta = 0.999",
        keras_code='out = 1e9 * (keras.ops.cast(beta, "float64") - 0.999)',
        torch_code="out = 1e9 * (torch.tensor(beta, dtype=torch.float64) - 0.999)",
        keras_gives=12.87,
        torch_gives=0.0,
        torch_mend=Mend("torch.tensor(beta,", "torch.tensor(float(np.float32(beta)),"),
    ),
    Difference(
        name="tf32-products",
        area="precision",
        title="Matrix products in TF32",
        keras="On an NVIDIA GPU TensorFlow and JAX multiply float32 matrices in TF32: 10 bits of mantissa in the "
        "place of 23.",
        torch="In full float32, unless torch.set_float32_matmul_precision says otherwise.",
        keras_place=Place(
            "tensorflow/python/framework/config.py",
            "enable_tensor_float_32_execution",
            "TensorFloat-32 is enabled by default",
        ),
        torch_place=Place("torch/__init__.py", "set_float32_matmul_precision", 'When "highest" (the default)'),
        seen="Each factor is rounded to 11 significant bits, by up to 5e-4 of itself; float32 rounds by up to 6e-8.",
        matters="seldom; it ends the agreement of two runs at the first step",
        not_run=_NOT_RUN,
        keras_code="""
            import tensorflow as tf

            out = str(tf.config.experimental.tensor_float_32_execution_enabled())
            """,
        torch_code="""
            precision = torch.get_float32_matmul_precision()
            out = str(precision != "highest")
            """,
        keras_gives="True",
        torch_gives="False",
        keras_mend=Mend(
            "import tensorflow as tf\n",
            "import tensorflow as tf\ntf.config.experimental.enable_tensor_float_32_execution(False)\n",
        ),
    ),
    Difference(
        name="tf32-convolutions",
        area="precision",
        title="Convolutions in TF32",
        keras="In TF32, by the same switch as matrix products.",
        torch="In TF32 as well, though matrix products are not: torch.backends.cudnn.allow_tf32 is True.",
        keras_place=Place(
            "tensorflow/python/framework/config.py", "enable_tensor_float_32_execution", "tf.linalg.matmul"
        ),
        torch_place=Place(
            "torch/__init__.py",
            "set_float32_matmul_precision",
            "This does not change the precision of convolution operations",
        ),
        seen="With TF32 off in TensorFlow, torch's convolutions still round each factor by up to 5e-4 of itself, "
        "its dense layers do not.",
        matters="seldom; it ends the agreement of two runs at the first step",
        not_run=_NOT_RUN,
        keras_code="""
            import tensorflow as tf

            tf.config.experimental.enable_tensor_float_32_execution(False)
            out = str(tf.config.experimental.tensor_float_32_execution_enabled())
            """,
        torch_code="""
            torch.set_float32_matmul_precision("highest")
            out = str(torch.backends.cudnn.allow_tf32)
            """,
        keras_gives="False",
        torch_gives="True",
        torch_mend=Mend('torch.set_float32_matmul_precision("highest")', "torch.backends.cudnn.allow_tf32 = False"),
    ),
    Difference(
        name="compiled-on-gpu",
        area="precision",
        title="Compilation",
        keras='compile(jit_compile="auto") turns XLA on where TensorFlow lists a GPU and all layers allow it, and '
        "on JAX.",
        torch="Nothing is compiled, unless torch.compile is called.",
        keras_place=Place(
            "keras/src/trainers/trainer.py", "Trainer._resolve_auto_jit_compile", "# Disable XLA on CPU-only machines."
        ),
        torch_place=Place("torch/__init__.py", "compile", "Optimizes given model/function"),
        seen="Other roundings than without it, from the first step; layers without an XLA kernel stop fit with an "
        "error.",
        matters="no, but for speed and the first step, which compiles",
        not_run="read in source, not run: it needs a GPU; the snippets show what the setting resolves to on a CPU "
        "and by itself",
        keras_code="""
            model = keras.Sequential([keras.layers.Dense(1)])
            model.compile("sgd", "mse", jit_compile=True)
            out = str(model.jit_compile)
            """,
        torch_code="""
            model = nn.Linear(1, 1)
            out = str(hasattr(model, "_orig_mod"))
            """,
        keras_gives="True",
        torch_gives="False",
        keras_mend=Mend("jit_compile=True", "jit_compile=False"),
    ),
    Difference(
        name="mixed-precision-types",
        area="precision",
        title="Which operations mixed precision touches",
        keras="A layer under mixed_float16 or mixed_bfloat16 computes and gives 16 bits, softmax included, unless "
        'it has dtype="float32".',
        torch="autocast chooses by operation: matrix products and convolutions in 16 bits; softmax, normalisations "
        "and losses in float32 on a GPU, in the type that comes in on a CPU.",
        keras_place=Place(
            "keras/src/dtype_policies/dtype_policy.py", "DTypePolicy._parse_name", 'return "bfloat16", "float32"'
        ),
        torch_place=Place("torch/include/ATen/autocast_mode.h", "", "_(softmax, int)"),
        seen="The type after a softmax of float32 numbers: bfloat16 in Keras, float32 in torch.",
        matters="yes: probabilities with 3 digits; below 3e-8 they are 0 in float16",
        not_run="what autocast does on a GPU is read in source; the snippets run on a CPU",
        given="x = np.zeros((1, 2), np.float32)",
        keras_code="""
            layer = keras.layers.Softmax(dtype="mixed_bfloat16")
            out = layer(x).dtype.name
            """,
        torch_code="""
            with torch.autocast("cpu", torch.bfloat16):
                output = torch.tensor(x).softmax(-1)
            out = str(output.dtype).removeprefix("torch.")
            """,
        keras_gives="bfloat16",
        torch_gives="float32",
        keras_mend=Mend('dtype="mixed_bfloat16"', 'dtype="float32"'),
    ),
    Difference(
        name="denormal-numbers",
        area="precision",
        title="Denormal numbers",
        keras="TensorFlow's threads flush float32 numbers below 1.2e-38 to zero.",
        torch="They are kept, unless torch.set_flush_denormal(True).",
        keras_place=Place("tensorflow/include/tsl/platform/denormal.h", "", "class ScopedFlushDenormal"),
        torch_place=Place("torch/_torch_docs.py", "", "Disables denormal floating numbers on CPU"),
        seen="1e-40 times 1 in float32: 0 in Keras, 1e-40 in torch. Adam's second moments of small gradients get "
        "there.",
        matters="no, but for speed: arithmetic with them is many times slower on some processors",
        given="x = np.full(4, 1e-40, np.float32)",
        keras_code="out = np.asarray(keras.ops.multiply(x, np.float32(1))).astype(np.float64).max() * 1e40",
        torch_code="""
            number = torch.tensor(x)
            out = (number * 1).double().max() * 1e40
            """,
        keras_gives=0.0,
        torch_gives=1.0,
        torch_mend=Mend("number = torch.tensor(x)", "torch.set_flush_denormal(True)\nnumber = torch.tensor(x)"),
    ),
    Difference(
        name="loss-scale",
        area="precision",
        title="Scaling of the loss in float16",
        keras="compile wraps the optimizer under mixed_float16: a scale of 2¹⁵ at first, doubled after 2,000 good "
        "steps.",
        torch="GradScaler has to be used by hand: 2¹⁶ at first, doubled after 2,000. Lightning does so with "
        'precision="16-mixed".',
        keras_place=Place(
            "keras/src/optimizers/loss_scale_optimizer.py", "LossScaleOptimizer.__init__", "initial_scale=2.0**15"
        ),
        torch_place=Place("torch/amp/grad_scaler.py", "GradScaler.__init__", "init_scale: float = 2.0**16"),
        seen="The first scale: 32,768 in Keras, 65,536 in torch. Without one, gradients below 3e-8 are 0.",
        matters="where the scaler is missing; the first scale does not matter",
        keras_code="""
            optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD())
            out = optimizer.initial_scale
            """,
        torch_code="""
            scaler = torch.amp.GradScaler("cpu")
            out = scaler.get_scale()
            """,
        keras_gives=32768.0,
        torch_gives=65536.0,
        torch_mend=Mend('GradScaler("cpu")', 'GradScaler("cpu", init_scale=2.0**15)'),
    ),
    Difference(
        name="integer-type",
        area="precision",
        title="Default type of integers",
        keras="int32, of keras.ops.arange and of indices, as long as floats have 32 bits.",
        torch="int64.",
        keras_place=Place(
            "keras/src/backend/tensorflow/numpy.py", "arange", "dtype = dtypes.result_type(*dtypes_to_resolve)"
        ),
        torch_place=Place("torch/_torch_docs.py", "", "the `dtype` is inferred to be `torch.int64`"),
        seen="2³⁰ · 4 as a tensor: 0 in Keras, 4,294,967,296 in torch.",
        matters="only where counts or hashes pass 2,147,483,647",
        keras_code="""
            keras.config.set_floatx("float32")  # with float64, integers have 64 bits, too
            number = keras.ops.arange(1, 2)
            out = number * 2**30 * 4
            """,
        torch_code="""
            number = torch.arange(1, 2)
            out = number * 2**30 * 4
            """,
        keras_gives=[0],
        torch_gives=[4294967296],
        keras_mend=Mend("arange(1, 2)", 'arange(1, 2, dtype="int64")'),
    ),
)
