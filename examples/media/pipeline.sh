#!/usr/bin/env bash
# Makes a film ready for the web, in four steps; a job of jobqueue runs it. See README.md.
set -euo pipefail

for program in ffmpeg ffprobe jq; do
  command -v "$program" >/dev/null || { echo "$program is not installed" >&2; exit 65; } # killed: a retry cannot help
done
file=$(jq -er .job.data.file) || { echo "the data names no file" >&2; exit 65; }
work=work/$JOBQUEUE_JOB_ID
published=published/$JOBQUEUE_JOB_ID
mkdir -p "$work" published

progress() { # Turn what ffmpeg says of its progress into that of the job; pass on everything else.
  while IFS= read -r line; do
    case $line in
      out_time_us=[0-9]*) jq -nr --argjson at "${line#*=}" --argjson all "$1" '"::progress \(10 + 80 * ([$at / 1e6 / $all, 1] | min) | floor)"' ;;
      *=*) ;;
      *) printf '%s\n' "$line" >&2 ;;
    esac
  done
}

seconds=$(jobqueue step measure -- ffprobe -v error -show_entries format=duration -of csv=p=0 "$file")
echo "::progress 10"
jobqueue step transcode -- ffmpeg -y -v error -nostats -progress pipe:2 -i "$file" \
  -vf scale=-2:480 -c:v libx264 -preset veryfast -c:a aac -movflags +faststart "$work/film.mp4" 2> >(progress "$seconds")
echo "::progress 90"
jobqueue step picture -- ffmpeg -y -v error -ss "$(jq -n "$seconds / 2")" -i "$file" -frames:v 1 -vf scale=-2:240 "$work/picture.jpg"
echo "::progress 95"
# A server that dies after the move, but before the step is kept, runs this again: then there is nothing to do.
# shellcheck disable=SC2016 # the inner shell expands them
jobqueue step publish -- sh -c 'test -d "$2" || mv -- "$1" "$2"' publish "$work" "$published"
jq -cnr --arg folder "$published" --argjson seconds "$seconds" '"::result \({folder: $folder, seconds: $seconds})"'
