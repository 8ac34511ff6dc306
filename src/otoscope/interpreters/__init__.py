"""Interpreters, one paper or one idea per file."""

from otoscope.interpreters.agreement import AgreementInterpreter
from otoscope.interpreters.amt import AMTDecoded, AMTInterpreter
from otoscope.interpreters.attribution import AttributionInterpreter, SeededAttributionInterpreter
from otoscope.interpreters.base import Components, Interpreter, save_interpreter
from otoscope.interpreters.expected_gradients import ExpectedGradientsInterpreter
from otoscope.interpreters.grad_cam import GradCAMInterpreter
from otoscope.interpreters.gradient_shap import GradientShapInterpreter
from otoscope.interpreters.guided_backprop import GuidedBackpropInterpreter
from otoscope.interpreters.guided_grad_cam import GuidedGradCAMInterpreter
from otoscope.interpreters.heard_agreement import HeardAgreementInterpreter
from otoscope.interpreters.heard_lmac import HeardLMACDecoded, HeardLMACInterpreter
from otoscope.interpreters.input_x_gradient import InputXGradientInterpreter
from otoscope.interpreters.integrated_gradients import IntegratedGradientsInterpreter
from otoscope.interpreters.l2i import L2IDecoded, L2IInterpreter
from otoscope.interpreters.lmac import LMACDecoded, LMACInterpreter
from otoscope.interpreters.occlusion import OcclusionInterpreter
from otoscope.interpreters.optimised_mask import OptimisedMaskInterpreter
from otoscope.interpreters.piq import PIQDecoded, PIQInterpreter
from otoscope.interpreters.refined import RefinedInterpreter
from otoscope.interpreters.rise import RISEInterpreter
from otoscope.interpreters.saliency import SaliencyInterpreter
from otoscope.interpreters.segment_regression import SegmentRegressionInterpreter
from otoscope.interpreters.slime import SLIMEInterpreter
from otoscope.interpreters.smoothgrad import SmoothGradInterpreter
from otoscope.interpreters.untrained import is_untrained, make_untrained

__all__ = [
    "AMTDecoded",
    "AMTInterpreter",
    "AgreementInterpreter",
    "AttributionInterpreter",
    "Components",
    "ExpectedGradientsInterpreter",
    "GradCAMInterpreter",
    "GradientShapInterpreter",
    "GuidedBackpropInterpreter",
    "GuidedGradCAMInterpreter",
    "HeardAgreementInterpreter",
    "HeardLMACDecoded",
    "HeardLMACInterpreter",
    "InputXGradientInterpreter",
    "IntegratedGradientsInterpreter",
    "Interpreter",
    "L2IDecoded",
    "L2IInterpreter",
    "LMACDecoded",
    "LMACInterpreter",
    "OcclusionInterpreter",
    "OptimisedMaskInterpreter",
    "PIQDecoded",
    "PIQInterpreter",
    "RISEInterpreter",
    "RefinedInterpreter",
    "SLIMEInterpreter",
    "SaliencyInterpreter",
    "SeededAttributionInterpreter",
    "SegmentRegressionInterpreter",
    "SmoothGradInterpreter",
    "is_untrained",
    "make_untrained",
    "save_interpreter",
]
