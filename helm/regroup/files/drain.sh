#!/bin/sh
# Runs before a worker's pod stops: drains the worker and waits until its running tasks are finished. Kubernetes ends
# the wait after terminationGracePeriodSeconds; tasks that are still running then start again elsewhere from their last
# checkpoint.
export REGROUP_TOKEN_FILE="$REGROUP_OPERATOR_TOKEN_FILE"

# Prints the number of this worker's trainer processes, from a line such as "worker-0  draining  2/4  cpu ...".
busy_slots() {
  regroup workers | awk -v worker="$POD_NAME" '$1 == worker { split($3, slots, "/"); print slots[1] }'
}

regroup drain "$POD_NAME" || exit 0
while busy=$(busy_slots) && [ "${busy:-0}" != 0 ]; do
  sleep 2
done
