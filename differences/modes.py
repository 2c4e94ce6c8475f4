"""Training and evaluation mode."""

from differences.entry import Difference, Mend, Place

ENTRIES = (
    Difference(
        name="mode-default",
        area="modes",
        title="The mode of a model that is called",
        keras="Inference, unless training=True is passed; fit passes it, predict and evaluate do not.",
        torch="Training, until model.eval() is called; then evaluation until model.train().",
        keras_place=Place(
            "keras/src/layers/layer.py", "Layer.__call__", "(5) False (treating the layer as if it's in inference)"
        ),
        torch_place=Place("torch/nn/modules/module.py", "Module.__init__", '"training", True'),
        seen="Ones through a new Dropout(0.5): all 1 in Keras, 0 and 2 in torch.",
        matters="yes: a hand-written loop in Keras trains without dropout, an evaluation in torch has it",
        given="x = np.ones((1, 100))",
        keras_code="""
            layer = keras.layers.Dropout(0.5)
            out = np.unique(layer(x))
            """,
        torch_code="""
            layer = nn.Dropout(0.5)
            out = layer(torch.tensor(x)).unique()
            """,
        keras_gives=[1.0],
        torch_gives=[0.0, 2.0],
        torch_mend=Mend("nn.Dropout(0.5)", "nn.Dropout(0.5).eval()"),
    ),
    Difference(
        name="gradients-recorded",
        area="modes",
        title="Whether a call is recorded for gradients",
        keras="Only inside a GradientTape, as in train_step; predict and evaluate record nothing.",
        torch="Always, unless inside torch.no_grad() or inference_mode(); eval() does not change it.",
        keras_place=Place(
            "keras/src/backend/tensorflow/trainer.py", "TensorFlowTrainer.train_step", "with tf.GradientTape() as tape:"
        ),
        torch_place=Place("torch/nn/modules/module.py", "Module.eval", "See :ref:`locally-disable-grad-doc`"),
        seen="torch: memory that grows in an evaluation, outputs with requires_grad=True.",
        matters="only for memory and time",
        given="x = np.ones((1, 1))",
        keras_code="""
            output = keras.layers.Dense(1)(x)
            out = str(getattr(output, "requires_grad", False))
            """,
        torch_code="""
            layer, x = nn.Linear(1, 1).eval(), torch.tensor(x)
            output = layer(x)
            out = str(output.requires_grad)
            """,
        keras_gives="False",
        torch_gives="True",
        torch_mend=Mend("output = layer(x)", "with torch.no_grad():\n    output = layer(x)"),
    ),
    Difference(
        name="mode-after-validation",
        area="modes",
        title="The mode after a validation",
        keras="Each batch of fit is in training mode, whatever ran between epochs.",
        torch="After model.eval() the training goes on in evaluation mode, unless model.train() is called again.",
        keras_place=Place(
            "keras/src/backend/tensorflow/trainer.py", "TensorFlowTrainer.train_step", "y_pred = self(x, training=True)"
        ),
        torch_place=Place("torch/nn/modules/module.py", "Module.eval", "return self.train(False)"),
        seen="From the second epoch on no dropout, and batch normalisation with fixed statistics. Ones through "
        "Dropout(0.5) after a validation: 0 and 2 in Keras, 1 in torch.",
        matters="yes, from the second epoch on",
        given="x = np.ones((1, 100))",
        keras_code="""
            layer = keras.layers.Dropout(0.5)
            layer(x, training=False)  # a validation
            out = np.unique(layer(x, training=True))
            """,
        torch_code="""
            layer, x = nn.Dropout(0.5), torch.tensor(x)
            layer.eval()
            layer(x)  # a validation
            out = layer(x).unique()
            """,
        keras_gives=[0.0, 2.0],
        torch_gives=[1.0],
        torch_mend=Mend("layer(x)  # a validation\n", "layer(x)  # a validation\nlayer.train()\n"),
    ),
    Difference(
        name="mode-in-a-call",
        area="modes",
        title="A mode that is written in the call of a layer",
        since="read in the versions below only",
        keras="A functional model passes its own mode on, over the one in the call: with base(x, training=False), fit "
        "uses the batch's statistics once base is trainable; Dropout(0.5)(x, training=True) does nothing in predict. "
        "A subclassed model keeps to the call.",
        torch="F.dropout(x, training=True), or base.eval() after model.train(), holds.",
        keras_place=Place("keras/src/models/functional.py", "operation_fn", "kwargs[name] = value"),
        torch_place=Place("torch/nn/functional.py", "dropout", "_VF.dropout(input, p, training)"),
        seen="A frozen base's moving statistics change in the training after base.trainable = True, in spite of "
        "training=False. Ones through Dropout(0.5)(x, training=True) in predict: all 1 in Keras, 0 and 2 in torch.",
        matters="yes: fine-tuning with normalisations, and dropout that should be active in predict",
        given="x = np.ones((1, 100))",
        keras_code="""
            inputs = keras.Input((100,))
            model = keras.Model(inputs, keras.layers.Dropout(0.5)(inputs, training=True))
            out = np.unique(model.predict(x, verbose=0))
            """,
        torch_code="""
            class Model(nn.Module):
                def forward(self, x):
                    return F.dropout(x, 0.5, training=True)

            out = Model().eval()(torch.tensor(x)).unique()
            """,
        keras_gives=[1.0],
        torch_gives=[0.0, 2.0],
        keras_mend=Mend("model.predict(x, verbose=0)", "model(x)"),
    ),
)
