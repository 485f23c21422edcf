# SPDX-License-Identifier: Apache-2.0
"""The parts of scripts/evaluate."""

from . import attestation, clusters, experiments, model

# In the order of the page.
ALL = [*experiments.ALL, *clusters.ALL, *attestation.ALL, *model.ALL]
