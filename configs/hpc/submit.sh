#!/bin/bash
# Submits all three steps: submit.sh JOB OUT [TASKS]
set -eu
if [ "$#" -lt 2 ]; then
  echo "usage: submit.sh JOB OUT [TASKS]" >&2
  exit 2
fi
export JOB="$1" OUT="$2" PARTS="${3:-20}" # sbatch hands the environment on
here="$(cd "$(dirname "$0")" && pwd)"
first="$(sbatch --parsable "$here/prepare.sbatch")"
array="$(sbatch --parsable --array="1-$PARTS" --dependency="afterok:$first" "$here/array.sbatch")"
last="$(sbatch --parsable --dependency="afterany:$array" "$here/merge.sbatch")"
echo "submitted: prepare $first, array $array (1-$PARTS), merge $last"
