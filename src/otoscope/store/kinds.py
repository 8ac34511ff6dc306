"""Table of kinds: the names that model folders use for the classes of otoscope.

Folders hold the name and not the import path, so that a class can move to another module.
"""

from __future__ import annotations

from otoscope.methods import METHODS

KINDS = {
    # classifiers
    "callable": "otoscope.classifiers.external.function.CallableClassifier",
    "cnn14": "otoscope.classifiers.cnn14.Cnn14Classifier",
    "conv2d": "otoscope.classifiers.conv2d.Conv2dClassifier",
    "focalnet": "otoscope.classifiers.focalnet.FocalNetClassifier",
    "listener": "otoscope.classifiers.listeners.ListenerClassifier",
    "onnx": "otoscope.classifiers.external.onnx_model.OnnxClassifier",
    "tflite": "otoscope.classifiers.external.tflite_model.TfliteClassifier",
    "torch": "otoscope.classifiers.external.torch_module.TorchClassifier",
    "transformers": "otoscope.classifiers.external.transformers_model.TransformersClassifier",
    "vit": "otoscope.classifiers.vit.ViTClassifier",
    # interpreters: the kind is the name of the method
    **{name: method.class_path for name, method in METHODS.items()},
    # dictionaries
    "nmf": "otoscope.nn.dictionary.NMFDictionary",
}
"""Import path of the class of each kind; change it when the class moves."""

_FORMER_PATHS = {
    "otoscope.classifiers.black_box.CallableClassifier": "callable",
    "otoscope.classifiers.cnn14.Cnn14Classifier": "cnn14",
    "otoscope.classifiers.conv2d.Conv2dClassifier": "conv2d",
    "otoscope.classifiers.focalnet.FocalNetClassifier": "focalnet",
    "otoscope.classifiers.onnx_model.OnnxClassifier": "onnx",
    "otoscope.classifiers.torch_module.TorchClassifier": "torch",
    "otoscope.classifiers.transformers_model.TransformersClassifier": "transformers",
    "otoscope.classifiers.vit.ViTClassifier": "vit",
    "otoscope.interpreters.amt.AMTInterpreter": "amt",
    "otoscope.interpreters.grad_cam.GradCAMInterpreter": "grad_cam",
    "otoscope.interpreters.gradient_shap.GradientShapInterpreter": "gradient_shap",
    "otoscope.interpreters.guided_backprop.GuidedBackpropInterpreter": "guided_backprop",
    "otoscope.interpreters.guided_grad_cam.GuidedGradCAMInterpreter": "guided_grad_cam",
    "otoscope.interpreters.input_x_gradient.InputXGradientInterpreter": "input_x_gradient",
    "otoscope.interpreters.integrated_gradients.IntegratedGradientsInterpreter": "integrated_gradients",
    "otoscope.interpreters.l2i.L2IInterpreter": "l2i",
    "otoscope.interpreters.lmac.LMACInterpreter": "lmac",
    "otoscope.interpreters.occlusion.OcclusionInterpreter": "occlusion",
    "otoscope.interpreters.optimised_mask.OptimisedMaskInterpreter": "optimised_mask",
    "otoscope.interpreters.piq.PIQInterpreter": "piq",
    "otoscope.interpreters.refined.RefinedInterpreter": "refined",
    "otoscope.interpreters.rise.RISEInterpreter": "rise",
    "otoscope.interpreters.saliency.SaliencyInterpreter": "saliency",
    "otoscope.interpreters.slime.SLIMEInterpreter": "slime",
    "otoscope.interpreters.smoothgrad.SmoothGradInterpreter": "smoothgrad",
    "otoscope.nn.dictionary.NMFDictionary": "nmf",
}
"""Kind of each import path in folders of otoscope 0.1. Frozen: never changed when a class moves."""


def kind_of(path: str) -> str:
    """Return the kind of a class of otoscope, and the import path itself for any other class.

    Example:
        >>> kind_of("otoscope.nn.dictionary.NMFDictionary"), kind_of("my_package.MyClassifier")
        ('nmf', 'my_package.MyClassifier')
    """
    return next((kind for kind, shipped in KINDS.items() if shipped == path), path)


def class_path_of(name: str) -> str | None:
    """Return the import path of a class of otoscope, or None for any other class.

    Args:
        name: Value of ``class`` in a model folder: a kind, or the import path that otoscope 0.1 wrote.

    Example:
        >>> class_path_of("piq")
        'otoscope.interpreters.piq.PIQInterpreter'
    """
    return KINDS.get(_FORMER_PATHS.get(name, name))
