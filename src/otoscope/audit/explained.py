"""The result of an audit together with the evidence of its classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from otoscope.audit.gathering import EvidenceOptions, gather_evidence
from otoscope.audit.result import AuditResult
from otoscope.classifiers import Classifier


def with_evidence(
    result: AuditResult,
    classifier: Classifier,
    clips: Any,
    labels: Sequence[str],
    options: EvidenceOptions | None = None,
    progress: bool = True,
) -> AuditResult:
    """Explain a sample of the clips of each class, and return the result with the evidence of its classes.

    Interventions do not need explanations; these say where to look, and let a person hear what decides. If the
    result has a folder, the evidence and explanations of examples are saved there, and its file is written again.

    Args:
        result: Result of `otoscope.audit.run.run_audit`.
        classifier: Classifier that was audited.
        clips: Labelled clips that were audited.
        labels: Names of the classes that the targets of the clips count.
        options: Method and sample.
        progress: Whether to show progress bars.

    Raises:
        OtoscopeError: The method does not fit the classifier, or a file cannot be written.
    """
    options = options or EvidenceOptions()
    gathered = gather_evidence(classifier, clips, labels, result.folder, options, progress=progress)
    conditions = {
        **result.conditions,
        "evidence": {
            **asdict(options),
            "method": gathered.method or options.method,
            "explained_clips": gathered.explained,
            "reused_clips": gathered.reused,
            "notes": gathered.notes,
            "failed": gathered.failures,
        },
    }
    classes = [replace(item, evidence=gathered.classes.get(item.label)) for item in result.classes]
    explained = replace(result, conditions=conditions, classes=classes)
    if explained.folder is not None:
        explained.save(explained.folder)
    return explained
