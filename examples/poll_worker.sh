#!/usr/bin/env bash
# A worker in bash with curl and jq: JOBQUEUE_URL=http://localhost:8080 poll_worker.sh [QUEUE]
#
# It runs jobs of the type "checksum": {"files": ["a", "b"], "pause": 0}. Each file is a step, so a job that comes back goes
# on with the next file. Change the function "work"; the rest is the same for every worker.
#
#   jobqueue add checksum '{"files": ["/etc/hostname", "/etc/passwd"], "pause": 5}' --queue files
#
# Try: kill it with TERM (it gives its job back at once, uncounted) or with KILL (the job comes back when its lease has
# ended), kill the job (jobqueue kill ID), name a file that does not exist, stop the server for a while.
set -uo pipefail

url=${JOBQUEUE_URL:-http://localhost:8080}/v1
queue=${1:-files}
worker=poll_worker.sh:$(uname -n):$$
lease=10 # seconds; a heartbeat comes every three
files=$(mktemp -d)
trap 'rm -rf -- "$files"' EXIT
stopping=
child= # the process under way
trap 'stopping=1; end_child' TERM INT
set -m # a child gets a process group of its own, so that all of it can be ended

end_child() { [[ -z $child ]] || kill -- "-$child" 2>/dev/null; }

await_child() { # Wait for a process in the background, which a signal ends; return its exit code.
  local code
  child=$1
  [[ -z $stopping ]] || end_child # the signal may have come before the child
  wait "$child" 2>/dev/null
  code=$?
  while kill -0 "$child" 2>/dev/null; do wait "$child" 2>/dev/null; done
  child=
  return "$code"
}

post() { # post PATH BODY: print the reply, and fail unless it is 2xx. All tries of a request have the same key.
  local key
  key=$(date +%s%N)-$RANDOM-$$
  curl -sS --fail-with-body --max-time 90 --retry 8 --retry-connrefused -X POST "$url/$1" --data-binary "$2" \
    ${authorization:+-H "Authorization: $authorization"} -H 'Content-Type: application/json' -H "Idempotency-Key: $key" 2>>"$files/curl"
}

note() { # note LINE PROGRESS: a line of the log, and how far the job is
  post "jobs/$id/heartbeat" "$(jq -n --arg line "$1" --argjson progress "$2" '{logs: [$line], progress: $progress}')" >/dev/null
}

work() { # The job: prints its result. Exit code 65 kills it, 75 runs it again later, any other one is a failed attempt.
  local count number=0 file sum
  count=$(jq '.job.data.files | length' "$files/claim")
  ((count)) || { echo "there are no files" >&2; return 65; }
  while IFS= read -r file; do
    if ! sum=$(jq -er --arg name "sum of $file" '.job.steps[$name] // empty' "$files/claim"); then
      note "reading $file" $((100 * number / count))
      sum=$(sha256sum <"$file" | cut -c -64) || return 1
      # Kept from here on, whatever happens to this worker.
      post "jobs/$id/steps" "$(jq -n --arg name "sum of $file" --arg sum "$sum" '{name: $name, result: $sum}')" >/dev/null || return 1
      sleep "$(jq '.job.data.pause // 0' "$files/claim")"
    fi
    number=$((number + 1))
    jq -n --arg file "$file" --arg sum "$sum" '{($file): $sum}'
  done < <(jq -r '.job.data.files[]' "$files/claim") | jq -s add
}

beat() { # Renew the lease. A job that was killed, or is somebody else's now, is ended.
  local reply
  while sleep 3; do
    reply=$(post "jobs/$id/heartbeat" '{}')
    if jq -e '.cancelled or .status == 409 or .status == 404' <<<"$reply" >/dev/null 2>&1; then
      touch "$files/lost"
      kill -- "-$1"
    fi
  done
}

report() { # Say how the job has ended. A reply that refuses the result leaves the job to "fail".
  local reason
  reason=$(tail -n 1 "$files/errors")
  if [[ -e $files/lost ]]; then
    return
  elif [[ -n $stopping && $1 != 0 ]]; then
    post "jobs/$id/retry" '{"reason": "the worker is stopped"}'
  elif [[ $1 == 0 ]]; then
    jq -c '{result: .}' "$files/result" >"$files/report"
    post "jobs/$id/succeed" "@$files/report" || post "jobs/$id/fail" '{"reason": "the result was refused"}'
  else
    case $1 in 65) verb=die ;; 75) verb=retry ;; *) verb=fail ;; esac
    post "jobs/$id/$verb" "$(jq -n --arg reason "${reason:-exit code $1}" '{reason: $reason}')"
  fi >/dev/null
}

run() {
  local working beating code
  id=$(jq -r .job.id "$files/claim")
  authorization="Claim $(jq -r .token "$files/claim")"
  rm -f "$files/lost"
  work >"$files/result" 2>"$files/errors" &
  working=$!
  beat "$working" &
  beating=$!
  await_child "$working"
  code=$?
  kill -- "-$beating" 2>/dev/null
  wait "$beating" 2>/dev/null
  report "$code"
}

while [[ -z $stopping ]]; do
  authorization=${JOBQUEUE_API_TOKEN:+Bearer $JOBQUEUE_API_TOKEN}
  claim=$(jq -n --arg worker "$worker" --argjson lease "$lease" '{worker: $worker, types: ["checksum"], wait: 30, lease: $lease}')
  : >"$files/claim"
  # A server that has just claimed a job for us gives it back when a signal ends this request.
  post "queues/$queue/claim" "$claim" >"$files/claim" &
  await_child "$!"
  code=$?
  if jq -e .job "$files/claim" >/dev/null 2>&1; then
    run
  elif ((code)) && [[ -z $stopping ]]; then
    tail -n 1 "$files/curl" >&2
    sleep 1
  fi # else nothing came within 30 seconds
done
exit 0
