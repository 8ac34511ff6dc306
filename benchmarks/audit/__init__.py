"""Recall and false alarms of `otoscope audit` on classifiers with planted cues and on clean ones."""
