"""The methods that need no training, by the name that the command line knows them by."""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING, Any

from otoscope.errors import ConfigurationError, OtoscopeError

if TYPE_CHECKING:
    from otoscope.classifiers import Classifier
    from otoscope.interpreters.base import Interpreter

UNTRAINED = {
    "amt": "otoscope.interpreters.amt.AMTInterpreter",
    "grad_cam": "otoscope.interpreters.grad_cam.GradCAMInterpreter",
    "gradient_shap": "otoscope.interpreters.gradient_shap.GradientShapInterpreter",
    "guided_backprop": "otoscope.interpreters.guided_backprop.GuidedBackpropInterpreter",
    "guided_grad_cam": "otoscope.interpreters.guided_grad_cam.GuidedGradCAMInterpreter",
    "input_x_gradient": "otoscope.interpreters.input_x_gradient.InputXGradientInterpreter",
    "integrated_gradients": "otoscope.interpreters.integrated_gradients.IntegratedGradientsInterpreter",
    "occlusion": "otoscope.interpreters.occlusion.OcclusionInterpreter",
    "optimised_mask": "otoscope.interpreters.optimised_mask.OptimisedMaskInterpreter",
    "refined": "otoscope.interpreters.refined.RefinedInterpreter",
    "rise": "otoscope.interpreters.rise.RISEInterpreter",
    "saliency": "otoscope.interpreters.saliency.SaliencyInterpreter",
    "slime": "otoscope.interpreters.slime.SLIMEInterpreter",
    "smoothgrad": "otoscope.interpreters.smoothgrad.SmoothGradInterpreter",
}
"""Class of each method that explains any classifier, or any that has what it needs, as it comes."""
GRADIENT_FREE = ("occlusion", "rise", "slime")
"""Those of them that explain a black box, from which no gradient comes."""
ALIASES = {
    "lime": "slime",
    "optimized_mask": "optimised_mask",
    "gradcam": "grad_cam",
    "guided_gradcam": "guided_grad_cam",
}
"""Other names for some of them."""


def is_untrained(name: str) -> bool:
    """Whether there is a method of this name that needs no training."""
    return _plain(name) in UNTRAINED


def make_untrained(name: str, classifier: Classifier, **options: Any) -> Interpreter[Any]:
    """Makes the interpreter of a method that needs no training.

    Args:
        name: A key of `UNTRAINED`; case, hyphens and underscores do not matter.
        classifier: What it will explain.
        **options: Of the method's class.

    Raises:
        ConfigurationError: There is no such method, or it has no such option.
        OtoscopeError: The method does not fit the classifier.
    """
    path = UNTRAINED.get(_plain(name))
    if path is None:
        raise ConfigurationError(
            f"method: there is no {name!r} that needs no training; there are {', '.join(sorted(UNTRAINED))}"
        )
    module, _, kind = path.rpartition(".")
    try:
        interpreter: Interpreter[Any] = getattr(importlib.import_module(module), kind)(classifier, **options)
    except OtoscopeError:
        raise
    except TypeError as error:
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        told = f"there is no option {unknown.group(1)!r}" if unknown else str(error)
        raise ConfigurationError(f"method {name}: {told}") from error
    return interpreter


def _plain(name: str) -> str:
    name = name.lower().replace("-", "_").replace(" ", "_")
    return ALIASES.get(name, name)
