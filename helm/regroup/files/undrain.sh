#!/bin/sh
# After a worker's pod has started: it takes tasks again if it was drained before. A worker that the coordinator does not
# know yet was not.
export REGROUP_TOKEN_FILE="$REGROUP_OPERATOR_TOKEN_FILE"
regroup undrain "$POD_NAME" > /dev/null 2>&1 || true
