"""What the frameworks cannot be brought to agree on, for each clean pair: what the answer has to name, as no fault.

Not listed is what only some versions or backends do: constants that Keras rounds to float32 (momentum, slopes,
the constants of GELU, ELU and SELU), and probabilities that it clips to 1e-7 before the logarithm.
"""

ADAM = r"adam.*(eps|ε)|(eps|ε).*adam"
"""Keras adds epsilon before the bias correction of the second moment, torch after it."""

ROOT = r"eps|ε"
"""RMSprop and Adagrad: Keras divides by √(v + ε), torch by √v + ε."""

ADAMAX = r"eps|ε"
"""Keras adds epsilon to the greater one of decayed norm and gradient, torch to the gradient beforehand."""

SPARSE = r"sparse|IndexedSlices|repeated|more than once|twice|square of the sum|sum of (the )?squares"
"""Embedding under Adam on TensorFlow: a row that occurs twice in a batch gets the sum of squares."""

VARIANCE = r"running variance|moving_variance|unbiased|n . 1"
"""BatchNorm's running variance: Keras divides by n, torch by n − 1."""

CLIP = r"clip|1e-0?6"
"""Clipping by the global norm: torch adds 1e-6 to the norm."""

INHERENT: dict[str, tuple[str, ...]] = {
    "accumulation": (),
    "attention_block": (ADAM,),
    "attention_written_out": (),
    "autoencoder": (),
    "bag_of_words": (ADAM, SPARSE),
    "bidirectional_masked": (),
    "binary_class_weight": (VARIANCE,),
    "causal_language_model": (),
    "cnn_batchnorm": (VARIANCE,),
    "contrastive": (),
    "conv3d_on_batch": (),
    "cross_network": (ADAM, CLIP),
    "denoising": (),
    "dense_mnist": (ADAM,),
    "diffusion": (ROOT,),
    "fine_tuning": (VARIANCE,),
    "frozen_base": (ADAM,),
    "fused_attention": (ADAM,),
    "gradient_tape": (),
    "groupnorm": (ROOT,),
    "gru_counts": (ROOT,),
    "keras_on_jax": (VARIANCE,),
    "keras_on_torch": (ADAM,),
    "keras_to_keras": (),
    "l2_penalty": (ADAM,),
    "lightning_clip": (CLIP,),
    "lightning_mnist": (ROOT,),
    "lstm_series": (CLIP,),
    "matrix_factorization": (),
    "mixture_of_experts": (ADAM,),
    "normalization_layer": (ROOT,),
    "packed_sequences": (ADAM,),
    "penalised_embeddings": (ROOT, SPARSE),
    "py_dataset": (ADAM,),
    "regression_ema": (),
    "residual_cnn": (VARIANCE,),
    "sample_weights": (ADAM,),
    "separable": (ADAMAX, VARIANCE),
    "sequence_tagger": (),
    "sequence_to_sequence": (ADAM, SPARSE),
    "siamese": (),
    "text_conv1d": (ADAM, SPARSE),
    "tf_data": (ADAM,),
    "time_first": (ADAM, CLIP),
    "time_series": (ROOT,),
    "torch_to_torch": (),
    "transformer_encoder": (),
    "triplet": (VARIANCE,),
    "two_branches": (ADAM,),
    "variational_autoencoder": (),
}
