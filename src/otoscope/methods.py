"""Catalogue of the explanation methods: names, titles, classes and needs.

It imports neither PyTorch nor an interpreter, so that the command line starts quickly.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """An explanation method.

    Args:
        name: Name on the command line and in configurations, lower case with underscores.
        title: Name in tables, summaries, pictures and documents.
        class_path: Import path of its interpreter.
        needs: Requirements on the classifier: ``gradient``, ``representation``, ``relu``, ``activation_map``. A
            method without requirements explains a black box.
        trained: Whether its interpreter is trained on a data set before it can explain.
        aliases: Other names that are accepted.
    """

    name: str
    title: str
    class_path: str
    needs: tuple[str, ...] = ()
    trained: bool = False
    aliases: tuple[str, ...] = ()


_CLASSES = "otoscope.interpreters"
_ALL = (
    Method("agreement", "agreement", f"{_CLASSES}.agreement.AgreementInterpreter", ("gradient",)),
    Method("amt", "AMT", f"{_CLASSES}.amt.AMTInterpreter", ("activation_map",)),
    Method(
        "expected_gradients",
        "expected gradients",
        f"{_CLASSES}.expected_gradients.ExpectedGradientsInterpreter",
        ("gradient",),
    ),
    Method("grad_cam", "Grad-CAM", f"{_CLASSES}.grad_cam.GradCAMInterpreter", ("gradient", "representation")),
    Method("gradient_shap", "gradient SHAP", f"{_CLASSES}.gradient_shap.GradientShapInterpreter", ("gradient",)),
    Method(
        "guided_backprop",
        "guided backprop",
        f"{_CLASSES}.guided_backprop.GuidedBackpropInterpreter",
        ("gradient", "relu"),
    ),
    Method(
        "guided_grad_cam",
        "guided Grad-CAM",
        f"{_CLASSES}.guided_grad_cam.GuidedGradCAMInterpreter",
        ("gradient", "representation", "relu"),
    ),
    Method(
        "heard_agreement",
        "heard agreement",
        f"{_CLASSES}.heard_agreement.HeardAgreementInterpreter",
        ("gradient",),
    ),
    Method(
        "heard_lmac",
        "heard L-MAC",
        f"{_CLASSES}.heard_lmac.HeardLMACInterpreter",
        ("gradient", "representation"),
        trained=True,
    ),
    Method(
        "input_x_gradient",
        "input x gradient",
        f"{_CLASSES}.input_x_gradient.InputXGradientInterpreter",
        ("gradient",),
    ),
    Method(
        "integrated_gradients",
        "integrated gradients",
        f"{_CLASSES}.integrated_gradients.IntegratedGradientsInterpreter",
        ("gradient",),
    ),
    Method("l2i", "L2I", f"{_CLASSES}.l2i.L2IInterpreter", ("representation",), trained=True),
    Method("lmac", "L-MAC", f"{_CLASSES}.lmac.LMACInterpreter", ("gradient", "representation"), trained=True),
    Method("occlusion", "occlusion", f"{_CLASSES}.occlusion.OcclusionInterpreter"),
    Method(
        "optimised_mask",
        "optimised mask",
        f"{_CLASSES}.optimised_mask.OptimisedMaskInterpreter",
        ("gradient",),
        aliases=("optimized_mask",),
    ),
    Method("piq", "PIQ", f"{_CLASSES}.piq.PIQInterpreter", ("representation",), trained=True),
    Method("refined", "refined", f"{_CLASSES}.refined.RefinedInterpreter", ("gradient",)),
    Method("rise", "RISE", f"{_CLASSES}.rise.RISEInterpreter"),
    Method("saliency", "saliency", f"{_CLASSES}.saliency.SaliencyInterpreter", ("gradient",)),
    Method(
        "segment_regression",
        "segment regression",
        f"{_CLASSES}.segment_regression.SegmentRegressionInterpreter",
    ),
    Method("slime", "SLIME", f"{_CLASSES}.slime.SLIMEInterpreter", aliases=("lime",)),
    Method("smoothgrad", "SmoothGrad", f"{_CLASSES}.smoothgrad.SmoothGradInterpreter", ("gradient",)),
)

DEFAULT_METHOD = "heard_agreement"
"""Method that explains a classifier without an interpreter, and the bundled one, where no other is named."""
DEFAULT_BLACK_BOX = "segment_regression"
"""Method that explains a black box, which has no gradient, where no other is named."""
METHODS = {method.name: method for method in _ALL}
"""All methods by name, in alphabetical order."""
UNTRAINED = tuple(method.name for method in _ALL if not method.trained)
"""Names of the methods that need no training."""
GRADIENT_FREE = tuple(method.name for method in _ALL if not method.trained and not method.needs)
"""Names of the methods that need no training and explain a black box, which has no gradient."""


def find_method(name: str) -> Method | None:
    """Return the method with a name, title or alias; case, spaces, hyphens and underscores do not matter.

    Args:
        name: Name, title or alias, for example ``grad_cam``, ``Grad-CAM`` or ``lime``.

    Returns:
        The method; None if the catalogue does not have it.

    Example:
        >>> find_method("Grad-CAM").name, find_method("lime").title, find_method("grad")
        ('grad_cam', 'SLIME', None)
    """
    return _BY_SPELLING.get(_spelling(name))


def same_method(first: str, second: str) -> bool:
    """Return whether two names mean the same method, which need not be in the catalogue.

    Example:
        >>> same_method("lmac", "L-MAC"), same_method("my_method", "MyMethod"), same_method("piq", "l2i")
        (True, True, False)
    """
    methods = find_method(first), find_method(second)
    if methods == (None, None):
        return _spelling(first) == _spelling(second)
    return methods[0] == methods[1]


def title_of(interpreter_class: type) -> str:
    """Return the title of the method that a class of interpreters implements.

    Args:
        interpreter_class: Class of the catalogue, or class of a user. The title of a user's class is its name
            without ``Interpreter``.
    """
    path = f"{interpreter_class.__module__}.{interpreter_class.__qualname__}"
    return _TITLES.get(path, interpreter_class.__name__.removesuffix("Interpreter"))


def _spelling(name: str) -> str:
    return re.sub(r"[-_ ]", "", name.lower())


_TITLES = {method.class_path: method.title for method in _ALL}
_BY_SPELLING = {_spelling(name): method for method in _ALL for name in (method.name, method.title, *method.aliases)}
