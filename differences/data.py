"""What is fed: order, batches, splits, layouts, types, augmentation."""

from differences.entry import Difference, Mend, Place

ENTRIES = (
    Difference(
        name="shuffle-default",
        area="data",
        title="Whether the samples are shuffled",
        keras="fit shuffles arrays in every epoch (shuffle=True); data sets, generators and loaders it takes as "
        "they come.",
        torch="DataLoader does not (shuffle=False).",
        keras_place=Place("keras/src/backend/tensorflow/trainer.py", "TensorFlowTrainer.fit", "shuffle=True"),
        torch_place=Place("torch/utils/data/dataloader.py", "DataLoader.__init__", "shuffle: bool | None = None"),
        seen="Whether the first epoch goes through 0 to 99 in order: no in Keras, yes in torch.",
        matters="yes, where the data are sorted, by class or by time",
        given="samples = np.arange(100.0)",
        keras_code="""
            seen = []

            def loss(target, output):
                seen.extend(np.ravel(target))
                return keras.ops.mean(output)

            model = keras.Sequential([keras.layers.Dense(1)])
            model.compile("sgd", loss, run_eagerly=True)
            model.fit(samples.reshape(100, 1), samples, verbose=0)
            out = str(seen == sorted(seen))
            """,
        torch_code="""
            loader = torch.utils.data.DataLoader(torch.tensor(samples), batch_size=32)
            seen = [float(sample) for batch in loader for sample in batch]
            out = str(seen == sorted(seen))
            """,
        keras_gives="False",
        torch_gives="True",
        torch_mend=Mend("batch_size=32", "batch_size=32, shuffle=True"),
        inherent="The orders are other random numbers, see `seeds-numbers`.",
    ),
    Difference(
        name="shuffle-seeded",
        area="data",
        title="The order of the second epoch once seeded",
        keras="On TensorFlow, once a seed is set, fit with arrays has the same order in every epoch.",
        torch="The generator goes on: another order in every epoch. So it is in Keras on torch and JAX.",
        keras_place=Place(
            "keras/src/trainers/data_adapters/array_data_adapter.py",
            "ArrayDataAdapter.get_tf_dataset",
            "indices = tf.random.shuffle(indices)",
        ),
        torch_place=Place(
            "torch/utils/data/sampler.py", "RandomSampler.__iter__", "torch.randperm(n, generator=generator)"
        ),
        seen="Whether the second epoch has the order of the first: yes in Keras, no in torch.",
        matters="a little: fewer combinations of samples meet in a batch",
        cost="test accuracy -0.145 points, 95% interval -0.237 to -0.054 (n = 20 seeds, docs/framework-differences.md)",
        given="samples = np.arange(50.0)",
        keras_code="""
            seen = []

            def loss(target, output):
                seen.extend(np.ravel(target))
                return keras.ops.mean(output)

            model = keras.Sequential([keras.layers.Dense(1)])
            model.compile("sgd", loss, run_eagerly=True)
            model.fit(samples.reshape(50, 1), samples, epochs=2, verbose=0)
            out = str(seen[:50] == seen[50:])
            """,
        torch_code="""
            loader = torch.utils.data.DataLoader(torch.tensor(samples), batch_size=32, shuffle=True)
            first, second = ([float(sample) for batch in loader for sample in batch] for _ in range(2))
            out = str(first == second)
            """,
        keras_gives="True",
        torch_gives="False",
        keras_mend=Mend(
            "model.fit(samples.reshape(50, 1), samples, epochs=2, verbose=0)",
            "for samples in (rng.permutation(samples), rng.permutation(samples)):\n"
            "    model.fit(samples.reshape(50, 1), samples, shuffle=False, verbose=0)",
        ),
        inherent="The orders are other random numbers, see `seeds-numbers`.",
    ),
    Difference(
        name="batch-size-default",
        area="data",
        title="Default batch size",
        keras="32 for arrays, in fit, evaluate and predict.",
        torch="DataLoader: 1.",
        keras_place=Place(
            "keras/src/trainers/data_adapters/array_data_adapter.py",
            "ArrayDataAdapter.__init__",
            "if steps else 32",
        ),
        torch_place=Place("torch/utils/data/dataloader.py", "DataLoader.__init__", "batch_size: int | None = 1"),
        seen="Steps for 64 samples: 2 in Keras, 64 in torch.",
        matters="yes: 32 times as many steps",
        given="samples = np.zeros((64, 1))",
        keras_code="""
            model = keras.Sequential([keras.layers.Dense(1)])
            model.compile("sgd", "mse", run_eagerly=True)
            model.fit(samples, samples, verbose=0)
            out = int(model.optimizer.iterations)
            """,
        torch_code="""
            loader = torch.utils.data.DataLoader(torch.tensor(samples))
            out = len(loader)
            """,
        keras_gives=2,
        torch_gives=64,
        torch_mend=Mend("(torch.tensor(samples))", "(torch.tensor(samples), batch_size=32)"),
    ),
    Difference(
        name="validation-split",
        area="data",
        title="Which samples are held back",
        keras="fit(validation_split=0.2) takes the last fifth, as the arrays come, before any shuffling.",
        torch="random_split draws them at random.",
        keras_place=Place(
            "keras/src/trainers/data_adapters/array_slicing.py",
            "train_validation_split",
            "split_at = int(math.floor(batch_dim * (1.0 - validation_split)))",
        ),
        torch_place=Place(
            "torch/utils/data/dataset.py",
            "random_split",
            "indices = randperm(sum(lengths), generator=generator).tolist()",
        ),
        seen="Of 0 to 9 with 0.2: 8 and 9 in Keras, any two in torch.",
        matters="yes, where the data are sorted: Keras validates on classes that it never trained on",
        given="samples = np.arange(10.0)",
        keras_code="""
            seen = []

            def loss(target, output):
                seen.extend(np.ravel(target))
                return keras.ops.mean(output)

            model = keras.Sequential([keras.layers.Dense(1)])
            model.compile("sgd", loss, run_eagerly=True)
            model.fit(samples.reshape(10, 1), samples, validation_split=0.2, verbose=0)
            out = seen[8:]  # after those of the training
            """,
        torch_code="""
            training, validation = torch.utils.data.random_split(samples, [8, 2])
            out = sorted(validation)
            """,
        keras_gives=[8.0, 9.0],
        torch_gives=[2.0, 6.0],
        torch_mend=Mend("torch.utils.data.random_split(samples, [8, 2])", "samples[:8], samples[8:]"),
    ),
    Difference(
        name="pixel-scale",
        area="data",
        title="Scale of pixels",
        keras="keras.datasets and image_dataset_from_directory give 0 to 255; nothing divides.",
        torch="torchvision's ToTensor divides bytes by 255.",
        keras_place=Place("keras/src/datasets/mnist.py", "load_data", "return (x_train, y_train), (x_test, y_test)"),
        torch_place=Place("torchvision/transforms/functional.py", "to_tensor", ".div(255)"),
        seen="A white pixel: 255 in Keras, 1 in torch.",
        matters="yes: inputs 255 times as large",
        given="image = np.full((1, 1, 1), 255, np.uint8)",
        keras_code="""
            pixel = keras.layers.Rescaling(1)
            out = pixel(image)
            """,
        torch_code="""
            from torchvision.transforms import ToTensor

            out = ToTensor()(image)
            """,
        keras_gives=[255.0],
        torch_gives=[1.0],
        keras_mend=Mend("Rescaling(1)", "Rescaling(1 / 255)"),
        after=1e-7,
        inherent="Keras rounds 1/255 to float32, see `constants-float32`; dividing the array by 255 is exact.",
    ),
    Difference(
        name="standardise-variance",
        area="data",
        title="What standardising takes",
        keras="Normalization(mean=…, variance=…): the variance.",
        torch="torchvision's Normalize(mean, std): the standard deviation.",
        keras_place=Place(
            "keras/src/layers/preprocessing/normalization.py", "Normalization.call", "self.backend.numpy.sqrt(variance)"
        ),
        torch_place=Place("torchvision/transforms/transforms.py", "Normalize.__init__", "mean, std, inplace=False"),
        seen="A 1 with mean 0 and 0.25 for the other: 2 in Keras, 4 in torch.",
        matters="yes: inputs of another size",
        given="x = np.ones((1, 1, 1))",
        keras_code="out = keras.layers.Normalization(mean=0.0, variance=0.25)(x)",
        torch_code="""
            from torchvision.transforms import Normalize

            out = Normalize([0.0], [0.25])(torch.tensor(x))
            """,
        keras_gives=[2.0],
        torch_gives=[4.0],
        torch_mend=Mend("[0.25]", "[0.25**0.5]"),
    ),
    Difference(
        name="resize-antialias",
        area="data",
        title="Making images smaller",
        keras="keras.ops.image.resize and Resizing do not smooth first (antialias=False).",
        torch="torchvision's Resize does (antialias=True); F.interpolate does not.",
        keras_place=Place("keras/src/ops/image.py", "resize", "antialias=False"),
        torch_place=Place("torchvision/transforms/transforms.py", "Resize.__init__", "antialias=True"),
        seen="A row 0, 0, 0, 0, 4, 0, 0, 0 of eight pixels resized to two: (0, 0) in Keras, (0.4286, 0.7143) in torch.",
        matters="yes, for pictures made much smaller: pixels are skipped",
        given="row = np.array([0.0, 0, 0, 0, 4, 0, 0, 0])",
        keras_code="""
            image = row.reshape(1, 8, 1)
            out = keras.ops.image.resize(image, (1, 2))
            """,
        torch_code="""
            from torchvision.transforms import Resize

            image = torch.tensor(row).reshape(1, 1, 8)
            out = Resize((1, 2))(image)
            """,
        keras_gives=[0.0, 0.0],
        torch_gives=[0.4286, 0.7143],
        torch_mend=Mend("Resize((1, 2))", "Resize((1, 2), antialias=False)"),
    ),
    Difference(
        name="rotation-unit",
        area="data",
        title="Unit of RandomRotation",
        keras="A share of a full turn: RandomRotation(0.1) turns by up to 36 degrees, and mirrors what lies outside.",
        torch="Degrees: torchvision's RandomRotation(0.1) turns by up to 0.1, and fills with 0.",
        keras_place=Place(
            "keras/src/layers/preprocessing/image_preprocessing/random_rotation.py",
            "RandomRotation.get_random_transformation",
            "* 360.0",
        ),
        torch_place=Place("torchvision/transforms/transforms.py", "RandomRotation", "Range of degrees to select from"),
        seen="The largest angle for 0.1: 36 degrees in Keras, 0.1 in torch.",
        matters="yes: hardly any augmentation, or 360 times as much",
        keras_code="""
            keras.config.set_floatx("float32")  # it raises an error in float64
            layer, image = keras.layers.RandomRotation(0.1), np.ones((1, 2, 2, 1), np.float32)
            out = max(abs(layer.get_random_transformation(image)["angle"]) for _ in range(400))
            """,
        torch_code="""
            from torchvision.transforms import RandomRotation

            degrees = RandomRotation(0.1).degrees
            out = max(abs(RandomRotation.get_params(degrees)) for _ in range(400))
            """,
        keras_gives=36.0,
        torch_gives=0.1,
        within=0.02,
        torch_mend=Mend("RandomRotation(0.1)", "RandomRotation(0.1 * 360)"),
        after=0.02,
        inherent="The generators differ: the mend makes the distributions equal, not the angles.",
    ),
    Difference(
        name="augmentation-in-evaluation",
        area="data",
        title="Augmentation in evaluation",
        keras="Random… layers do nothing when training is False: predict and evaluate see images as they are.",
        torch="torchvision's transforms are random always, in eval() too; test data need a pipeline of their own.",
        keras_place=Place(
            "keras/src/layers/preprocessing/image_preprocessing/random_flip.py",
            "RandomFlip.get_random_transformation",
            "if not training:",
        ),
        torch_place=Place(
            "torchvision/transforms/transforms.py", "RandomHorizontalFlip.forward", "if torch.rand(1) < self.p:"
        ),
        seen="A picture (1, 2) through a flip in evaluation, ten times: the same in Keras; in torch turned about "
        "half of the times.",
        matters="yes: test results are random",
        given="image = np.array([1.0, 2.0])",
        keras_code="""
            flip = keras.layers.RandomFlip("horizontal")
            pictures = [flip(image.reshape(1, 1, 2, 1), training=False) for _ in range(10)]
            out = [float(sum(np.ravel(picture)[0] for picture in pictures))]
            """,
        torch_code="""
            from torchvision.transforms import RandomHorizontalFlip

            flip = RandomHorizontalFlip().eval()
            pictures = [flip(torch.tensor(image).reshape(1, 1, 2)) for _ in range(10)]
            out = [float(sum(picture.ravel()[0] for picture in pictures))]
            """,
        keras_gives=[10.0],
        torch_gives=[14.0],
        torch_mend=Mend("RandomHorizontalFlip().eval()", "nn.Identity()"),
    ),
    Difference(
        name="sequence-padding-side",
        area="data",
        title="Which end of a sequence is padded",
        keras="pad_sequences puts zeros in front, and cuts long sequences at the front, too.",
        torch="pad_sequence puts them at the end, and makes (time, batch) unless batch_first=True.",
        keras_place=Place("keras/src/utils/sequence_utils.py", "pad_sequences", 'padding="pre"'),
        torch_place=Place("torch/nn/utils/rnn.py", "pad_sequence", "padding_value: float = 0.0"),
        seen="(1, 2) and (3): the second row is (0, 3) in Keras, (3, 0) in torch.",
        matters="yes, for recurrent layers without masks: the last step is padding",
        given="sequences = [[1, 2], [3]]",
        keras_code="out = keras.utils.pad_sequences(sequences)",
        torch_code="""
            tensors = [torch.tensor(sequence) for sequence in sequences]
            out = nn.utils.rnn.pad_sequence(tensors, batch_first=True)
            """,
        keras_gives=[1, 2, 0, 3],
        torch_gives=[1, 2, 3, 0],
        keras_mend=Mend("pad_sequences(sequences)", 'pad_sequences(sequences, padding="post", truncating="post")'),
    ),
    Difference(
        name="input-type",
        area="data",
        title="Inputs of another type than the weights",
        keras="Layers cast their inputs to their own type.",
        torch="Linear and convolutions raise RuntimeError: NumPy's default, float64, does not go into float32 layers.",
        keras_place=Place("keras/src/layers/layer.py", "Layer.__call__", "self.dtype_policy.convert_input("),
        torch_place=Place("torch/nn/modules/linear.py", "Linear.forward", "F.linear(input, self.weight, self.bias)"),
        seen='torch: "mat1 and mat2 must have the same dtype".',
        matters="an error; or, with .double() in the wrong place, another precision",
        given="x = np.ones((1, 2))",
        keras_code="""
            layer = keras.layers.Dense(1, kernel_initializer="ones", dtype="float32")
            out = layer(x)
            """,
        torch_code="""
            layer = nn.Linear(2, 1, dtype=torch.float32)
            nn.init.ones_(layer.weight), nn.init.zeros_(layer.bias)
            out = layer(torch.tensor(x))
            """,
        keras_gives=[2.0],
        torch_gives="RuntimeError",
        torch_mend=Mend("torch.tensor(x)", "torch.tensor(x, dtype=torch.float32)"),
    ),
    Difference(
        name="label-type",
        area="data",
        title="Type and shape of labels",
        keras="Sparse losses take integers of any size and floats, as (n,) or (n, 1).",
        torch="cross_entropy takes int64 labels of shape (n,); int32 or (n, 1) raise RuntimeError.",
        keras_place=Place(
            "keras/src/backend/tensorflow/nn.py",
            "sparse_categorical_crossentropy",
            'target = tf.cast(target, dtype="int64")',
        ),
        torch_place=Place("torch/nn/functional.py", "cross_entropy", "torch._C._nn.cross_entropy_loss("),
        seen='torch: "expected target dtype to be Long or Byte, but got Int", or "0D or 1D target tensor expected".',
        matters="an error",
        given="logits = np.array([[0.0, 1.0]]); labels = np.array([[1]], np.int32)",
        keras_code="out = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, logits)",
        torch_code="""
            logits, labels = torch.tensor(logits), torch.tensor(labels)
            out = F.cross_entropy(logits, labels)
            """,
        keras_gives=0.3133,
        torch_gives="RuntimeError",
        torch_mend=Mend("F.cross_entropy(logits, labels)", "F.cross_entropy(logits, labels.ravel().long())"),
    ),
)
