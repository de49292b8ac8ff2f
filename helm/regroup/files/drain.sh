#!/bin/sh
# Before a worker's pod stops: it takes nothing new and finishes what it runs. Kubernetes ends the wait after
# terminationGracePeriodSeconds; tasks that then still run start again elsewhere from their last checkpoint.
export REGROUP_TOKEN_FILE="$REGROUP_OPERATOR_TOKEN_FILE"

# Trainer processes of this worker, from a line such as "worker-0  draining  2/4  cpu ...".
busy_slots() {
  regroup workers | awk -v worker="$POD_NAME" '$1 == worker { split($3, slots, "/"); print slots[1] }'
}

regroup drain "$POD_NAME" || exit 0
while busy=$(busy_slots) && [ "${busy:-0}" != 0 ]; do
  sleep 2
done
