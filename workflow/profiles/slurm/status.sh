#!/usr/bin/env bash
# status.sh JOB: running, success or failed. A controller that does not answer is no reason to give up a job; one that does not know it any more, and has no
# accounting either, is: the batch is tried again, and passes over what is finished.
for job; do :; done
if ! state=$(squeue --noheader --states=all --format=%T --jobs="$job" 2>&1); then
    case $state in *'Invalid job id'*) state= ;; *) echo running; exit ;; esac
fi
if [ -z "$state" ]; then state=$(sacct --noheader --allocations --parsable2 --format=State --jobs="$job" 2> /dev/null | tail -1); fi
case $state in
    COMPLETED) echo success ;;
    PENDING | RUNNING | COMPLETING | CONFIGURING | SUSPENDED | STOPPED | REQUEUE* | RESIZING | SIGNALING | STAGE_OUT) echo running ;;
    *) echo failed ;;
esac
