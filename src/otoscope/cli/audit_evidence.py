"""Evidence and report of ``otoscope audit``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otoscope.cli.threads import usable_cores
from otoscope.errors import ConfigurationError, OtoscopeError

if TYPE_CHECKING:
    import jsonargparse

    from otoscope.audit import AuditResult
    from otoscope.audit.gathering import EvidenceOptions
    from otoscope.audit.run import AuditInput
    from otoscope.classifiers import Classifier

REPORT_NAME = "report.html"


def add_evidence_options(parser: jsonargparse.ArgumentParser) -> None:
    """Add the options for explanations of a sample of the clips, and for the report."""
    parser.add_argument(
        "--method",
        type=str,
        default="auto",
        help="Method that explains a sample of the clips, to show where the evidence of each class lies (auto: "
        "integrated gradients, or segment regression for a classifier without gradients; none: no explanations).",
    )
    parser.add_argument(
        "--explained_per_class",
        type=int | None,
        default=None,
        help="Largest number of clips of each class that are explained (default: 20, 8 with --quick).",
    )
    parser.add_argument(
        "--report", type=bool, default=True, help=f"Whether to write {REPORT_NAME} into the output folder."
    )


def evidence_options(options: Any) -> EvidenceOptions:
    """Return how clips are explained.

    Args:
        options: Parsed options of the verb.

    Raises:
        ConfigurationError: A number is out of its range.
    """
    from otoscope.audit.gathering import EvidenceOptions

    chosen: dict[str, Any] = {
        "method": options.method,
        "seed": options.seed,
        "workers": options.workers or usable_cores(),
    }
    if options.explained_per_class is not None:
        if options.explained_per_class < 1:
            raise ConfigurationError(f"--explained_per_class {options.explained_per_class}: must be 1 or more")
        chosen["clips_per_class"] = options.explained_per_class
    return EvidenceOptions.quick(**chosen) if options.quick else EvidenceOptions(**chosen)


def check_method(classifier: Classifier, options: Any) -> None:
    """Raise the error that the method does not exist or does not fit, before a long run begins.

    Args:
        classifier: Classifier to audit.
        options: Parsed options of the verb.

    Raises:
        ConfigurationError: There is no such method, or a number is out of its range.
        GradientError: The method needs gradients, and the classifier gives none.
    """
    from otoscope.audit.gathering import NONE, evidence_explainer

    evidence = evidence_options(options)
    if evidence.method != NONE:
        evidence_explainer(classifier, evidence)


def add_evidence(result: AuditResult, source: AuditInput, options: Any) -> AuditResult:
    """Return the result with the evidence of its classes; if that fails, the result as it is, with a line about it.

    Args:
        result: Result of an audit.
        source: What was audited.
        options: Parsed options of the verb.
    """
    from otoscope.audit.explained import with_evidence

    evidence = evidence_options(options)
    try:
        return with_evidence(
            result, source.classifier, source.clips, source.labels, evidence, progress=not options.json
        )
    except OtoscopeError as error:
        # the interventions are done and saved; they do not depend on explanations
        print(f"no evidence: {error}", file=sys.stderr)
        return result


def write_audit_report(folder: Path, options: Any) -> Path | None:
    """Write the report of an audit, or of two that are compared, into their folder.

    Args:
        folder: Output folder.
        options: Parsed options of the verb.

    Returns:
        Path of the page; None if none was asked for.
    """
    if not options.report:
        return None
    from otoscope.report import read_results, write_report

    path = folder / REPORT_NAME
    report = write_report(read_results([folder]), path)
    for reason in report.skipped:
        print(f"  not in the report: {' '.join(reason.split())}", file=sys.stderr)
    return path
