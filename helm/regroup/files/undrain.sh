#!/bin/sh
# Runs after a worker's pod has started: undrains the worker, in case it was drained before. The call fails for a worker
# that the coordinator does not know yet; such a worker is not draining.
export REGROUP_TOKEN_FILE="$REGROUP_OPERATOR_TOKEN_FILE"
regroup undrain "$POD_NAME" > /dev/null 2>&1 || true
