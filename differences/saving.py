"""What is saved and loaded."""

from differences.entry import Difference, Mend, Place

ENTRIES = (
    Difference(
        name="saving-structure",
        area="saving",
        title="What a saved model contains",
        keras="model.save writes layers, weights, compile arguments and the optimizer's state; load_model needs no "
        "code.",
        torch="torch.save(model.state_dict()) writes tensors only; the class has to be there to load them.",
        keras_place=Place("keras/src/saving/saving_lib.py", "_save_model_to_fileobj", "_CONFIG_FILENAME"),
        torch_place=Place(
            "torch/nn/modules/module.py",
            "Module.state_dict",
            "Return a dictionary containing references to the whole state of the module",
        ),
        seen="What the file gives when loaded: a model in Keras, a dict in torch.",
        matters="for who resumes: see `saving-optimizer`",
        given="import tempfile, pathlib; folder = pathlib.Path(tempfile.mkdtemp())",
        keras_code="""
            model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
            model.save(folder / "model.keras")
            loaded = keras.models.load_model(folder / "model.keras")
            out = str(callable(loaded))
            """,
        torch_code="""
            model = nn.Linear(1, 1)
            torch.save(model.state_dict(), folder / "model.pt")
            loaded = torch.load(folder / "model.pt")
            out = str(callable(loaded))
            """,
        keras_gives="True",
        torch_gives="False",
        torch_mend=Mend(
            'loaded = torch.load(folder / "model.pt")',
            'loaded = nn.Linear(1, 1)\nloaded.load_state_dict(torch.load(folder / "model.pt"))',
        ),
    ),
    Difference(
        name="saving-optimizer",
        area="saving",
        title="The optimizer's state in what is saved",
        keras="model.save has it, moments and number of steps; save_weights has not.",
        torch="model.state_dict() has not; optimizer.state_dict() has to be saved beside it. Lightning's "
        "checkpoints have both.",
        keras_place=Place(
            "keras/src/optimizers/base_optimizer.py", "BaseOptimizer.save_own_variables", "store[str(i)]"
        ),
        torch_place=Place(
            "torch/optim/optimizer.py", "Optimizer.state_dict", "Return the state of the optimizer as a :class:`dict`"
        ),
        seen="The number of steps after loading a model that was trained for 3: 3 in Keras, 0 in torch.",
        matters="yes, when resuming: Adam starts with empty moments and full bias correction",
        given="import tempfile, pathlib; folder = pathlib.Path(tempfile.mkdtemp()); x = np.ones((1, 1))",
        keras_code="""
            model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
            model.compile("adam", "mse", run_eagerly=True)
            for _ in range(3):
                model.train_on_batch(x, x)
            model.save(folder / "model.keras")
            out = int(keras.models.load_model(folder / "model.keras").optimizer.iterations)
            """,
        torch_code="""
            def make():
                model = nn.Linear(1, 1)
                return model, torch.optim.Adam(model.parameters())

            model, optimizer = make()
            for _ in range(3):
                model(torch.tensor(x)).sum().backward()
                optimizer.step()
            torch.save([model.state_dict(), optimizer.state_dict()], folder / "model.pt")
            model, optimizer = make()
            weights, moments = torch.load(folder / "model.pt")
            model.load_state_dict(weights)
            out = max((int(state["step"]) for state in optimizer.state.values()), default=0)
            """,
        keras_gives=3,
        torch_gives=0,
        torch_mend=Mend(
            "model.load_state_dict(weights)", "model.load_state_dict(weights)\noptimizer.load_state_dict(moments)"
        ),
    ),
    Difference(
        name="second-fit",
        area="saving",
        title="Training on",
        keras="A second fit goes on with the optimizer of the first, moments and number of steps; compile makes a "
        "new one.",
        torch="A training function that makes its optimizer starts from nothing at each call.",
        keras_place=Place("keras/src/trainers/trainer.py", "Trainer.compile", "self.optimizer = optimizer"),
        torch_place=Place(
            "torch/optim/optimizer.py",
            "Optimizer.__init__",
            "self.state: defaultdict[torch.Tensor, Any] = defaultdict(dict)",
        ),
        seen="The number of Adam's steps after two trainings of 3: 6 in Keras, 3 in torch.",
        matters="a little: Adam's first steps are as large as its rate",
        given="x = np.ones((3, 1))",
        keras_code="""
            model = keras.Sequential([keras.layers.Dense(1)])
            model.compile("adam", "mse", run_eagerly=True)
            model.fit(x, x, batch_size=1, verbose=0)
            model.fit(x, x, batch_size=1, verbose=0)
            out = int(model.optimizer.iterations)
            """,
        torch_code="""
            def train(model, optimizer=None):
                optimizer = optimizer or torch.optim.Adam(model.parameters())
                for sample in torch.tensor(x):
                    model(sample).sum().backward()
                    optimizer.step()
                return optimizer

            model = nn.Linear(1, 1)
            optimizer = train(model)
            optimizer = train(model)
            out = int(optimizer.state[model.weight]["step"])
            """,
        keras_gives=6,
        torch_gives=3,
        torch_mend=Mend("train(model)\nout", "train(model, optimizer)\nout"),
    ),
    Difference(
        name="loading-by-place",
        area="saving",
        title="What weights are found by",
        keras="load_weights finds a layer by its class and its place in the model, whatever its name.",
        torch="load_state_dict finds a tensor by the attribute's name, and raises if one is missing or left over.",
        keras_place=Place(
            "keras/src/saving/saving_lib.py",
            "_save_container_state",
            "naming.to_snake_case(saveable.__class__.__name__)",
        ),
        torch_place=Place("torch/nn/modules/module.py", "Module.load_state_dict", "Missing key(s) in state_dict"),
        seen="A layer renamed between saving and loading: loaded in Keras, RuntimeError in torch.",
        matters="yes: two layers of one shape that change places are exchanged in Keras without an error",
        given="import tempfile, pathlib; folder = pathlib.Path(tempfile.mkdtemp())",
        keras_code="""
            def make(name):
                return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, name=name)])

            make("before").save_weights(folder / "x.weights.h5")
            make("after").load_weights(folder / "x.weights.h5")
            out = "loaded"
            """,
        torch_code="""
            before = nn.ModuleDict({"before": nn.Linear(1, 1)}).state_dict()
            after = nn.ModuleDict({"after": nn.Linear(1, 1)})
            after.load_state_dict(before)
            out = "loaded"
            """,
        keras_gives="loaded",
        torch_gives="RuntimeError",
        torch_mend=Mend(
            "load_state_dict(before)", 'load_state_dict({n.replace("before", "after"): v for n, v in before.items()})'
        ),
    ),
    Difference(
        name="weights-list",
        area="saving",
        title="What is among a model's weights",
        keras="get_weights has the running statistics of batch normalisation: γ, β, mean, variance.",
        torch="parameters() has γ and β only; state_dict() has mean, variance and num_batches_tracked as well.",
        keras_place=Place(
            "keras/src/layers/normalization/batch_normalization.py", "BatchNormalization.build", 'name="moving_mean"'
        ),
        torch_place=Place("torch/nn/modules/batchnorm.py", "_NormBase.__init__", '"num_batches_tracked"'),
        seen="Arrays of a batch normalisation: 4 in Keras, 2 parameters in torch.",
        matters="yes: copied by parameters(), an evaluation has statistics of 0 and 1",
        keras_code="""
            layer = keras.layers.BatchNormalization()
            layer.build((None, 3))
            out = len(layer.get_weights())
            """,
        torch_code="""
            layer = nn.BatchNorm1d(3)
            out = len(list(layer.parameters()))
            """,
        keras_gives=4,
        torch_gives=2,
        torch_mend=Mend(
            "len(list(layer.parameters()))",
            'len([name for name in layer.state_dict() if name != "num_batches_tracked"])',
        ),
    ),
)
