"""Trains the quickstart model: runs in the virtual environment that has TensorFlow, and writes one directory.

Usage: ``python training.py DIRECTORY``. Afterwards it holds

- ``digits/1`` and ``digits/2``: SavedModels of a classifier of handwritten digits (scikit-learn's 8 by 8 data set),
  version 2 trained for longer, each with signatures for Predict, Classify and Regress and with warm-up records;
- ``samples.json``: images that the model was never shown, with the digit that a person wrote.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tensorflow_serving.apis import (
    classification_pb2,
    model_pb2,
    predict_pb2,
    prediction_log_pb2,
    regression_pb2,
)

SEED = 20
PIXELS = 64
INK_MAX = 16.0
EPOCHS_BY_VERSION = {1: 4, 2: 30}
SAMPLES = 40
WARMUP_BATCH_SIZES = (1, 32)


class DigitClassifier(tf.Module):  # type: ignore[misc]  # tensorflow has no types
    """The trained network with one function for each of TensorFlow Serving's request kinds."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.layers = [[tf.Variable(values) for values in layer.get_weights()] for layer in network.layers]

    def probabilities(self, images: Any) -> Any:
        activations = images / INK_MAX
        for kernel, bias in self.layers[:-1]:
            activations = tf.nn.relu(activations @ kernel + bias)
        kernel, bias = self.layers[-1]
        return tf.nn.softmax(activations @ kernel + bias)

    @tf.function(input_signature=[tf.TensorSpec([None, PIXELS], tf.float32, name="images")])  # type: ignore[untyped-decorator]
    def predict(self, images: Any) -> dict[str, Any]:
        probabilities = self.probabilities(images)
        return {"probabilities": probabilities, "classes": tf.argmax(probabilities, axis=1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])  # type: ignore[untyped-decorator]
    def classify(self, inputs: Any) -> dict[str, Any]:
        scores = self.probabilities(images_of_examples(inputs))
        names = tf.constant([str(digit) for digit in range(10)])
        return {"classes": tf.tile(names[tf.newaxis, :], [tf.shape(scores)[0], 1]), "scores": scores}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])  # type: ignore[untyped-decorator]
    def regress(self, inputs: Any) -> dict[str, Any]:
        """The expected digit: each one weighted with its probability."""
        probabilities = self.probabilities(images_of_examples(inputs))
        return {"outputs": probabilities @ tf.range(10, dtype=tf.float32)[:, tf.newaxis]}


def images_of_examples(serialized: Any) -> Any:
    features = {"images": tf.io.FixedLenFeature([PIXELS], tf.float32)}
    return tf.io.parse_example(serialized, features)["images"]


def trained_network(images: Any, labels: Any, *, epochs: int) -> Any:
    keras.utils.set_random_seed(SEED)
    network = keras.Sequential(
        [
            keras.Input([PIXELS]),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(10),
        ]
    )
    network.compile(
        optimizer=keras.optimizers.Adam(0.002),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    network.fit(images / INK_MAX, labels, epochs=epochs, batch_size=32, verbose=0)
    return network


def warmup_records(images: Any) -> list[Any]:
    """One request of each kind, so that the first real one finds everything initialised."""

    def model(signature: str) -> Any:
        return model_pb2.ModelSpec(name="digits", signature_name=signature)

    def example(image: Any) -> Any:
        pixels = tf.train.Feature(float_list=tf.train.FloatList(value=image))
        return tf.train.Example(features=tf.train.Features(feature={"images": pixels}))

    records = []
    for size in WARMUP_BATCH_SIZES:
        request = predict_pb2.PredictRequest(model_spec=model("serving_default"))
        request.inputs["images"].CopyFrom(tf.make_tensor_proto(images[:size], dtype=tf.float32))
        records.append(prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request)))
    classification = classification_pb2.ClassificationRequest(model_spec=model("classify"))
    classification.input.example_list.examples.append(example(images[0]))
    records.append(
        prediction_log_pb2.PredictionLog(
            classify_log=prediction_log_pb2.ClassifyLog(request=classification),
        )
    )
    regression = regression_pb2.RegressionRequest(model_spec=model("regress"))
    regression.input.example_list.examples.append(example(images[0]))
    records.append(
        prediction_log_pb2.PredictionLog(regress_log=prediction_log_pb2.RegressLog(request=regression)),
    )
    return records


def export(classifier: DigitClassifier, images: Any, destination: Path) -> None:
    signatures = {
        "serving_default": classifier.predict,
        "classify": classifier.classify,
        "regress": classifier.regress,
    }
    tf.saved_model.save(classifier, str(destination), signatures=signatures)
    # TensorFlow 2 writes every signature as one for Predict.
    updater = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(str(destination))
    for name in ("classify", "regress"):
        updater.replace_method_name(signature_key=name, method_name=f"tensorflow/serving/{name}")
    updater.save()
    extra = destination / "assets.extra"
    extra.mkdir()
    with tf.io.TFRecordWriter(str(extra / "tf_serving_warmup_requests")) as writer:
        for record in warmup_records(images):
            writer.write(record.SerializeToString())


def main() -> None:
    directory = Path(sys.argv[1])
    tf.config.experimental.enable_op_determinism()
    data = load_digits()
    images = data.data.astype(np.float32)
    training_images, unseen_images, training_labels, unseen_labels = train_test_split(
        images, data.target, test_size=360, random_state=SEED, stratify=data.target
    )
    accuracy = {}
    for version, epochs in EPOCHS_BY_VERSION.items():
        classifier = DigitClassifier(trained_network(training_images, training_labels, epochs=epochs))
        answers = classifier.predict(tf.constant(unseen_images))["classes"].numpy()
        accuracy[str(version)] = round(float((answers == unseen_labels).mean()), 4)
        export(classifier, training_images, directory / "digits" / str(version))
    samples = [
        {"pixels": [int(ink) for ink in image], "label": int(label)}
        for image, label in zip(unseen_images[:SAMPLES], unseen_labels[:SAMPLES], strict=True)
    ]
    (directory / "samples.json").write_text(json.dumps({"accuracy": accuracy, "samples": samples}))


if __name__ == "__main__":
    main()
