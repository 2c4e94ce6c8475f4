#!/bin/sh
# An implementation that takes 20 milliseconds, for studies of many runs: it copies a canned record.
#
#   quick.sh CANNED MODE SEED SECONDS RECIPE.json RUN_DIR
#
# A run of this seed does what the mode says; all others take so many seconds and end well.
# CANNED holds the record, and keeps who was started and what is to be counted.
set -e  # a copy that was killed leaves no record
canned=$1 mode=$2 seed=$3 seconds=$4 recipe=$5 run=$6
name=${run##*/}
echo "$name $$" >> "$canned/started.txt"
grep -q "\"seed\": $seed," "$recipe" || mode=good
case $mode in
    good) sleep "$seconds" ;;
    fail) echo "out of ideas"; exit 1 ;;
    refuse) echo "error: the moon is not full"; exit 2 ;;
    killed) kill -9 $$ ;;                                            # as for want of memory
    kills-worker) kill -9 "$PPID"; sleep 60 ;;
    kills-worker-once) mkdir "$canned/$name" 2> /dev/null && kill -9 "$PPID" && sleep 60 ;;
    fails-twice) for time in 1 2; do mkdir "$canned/$time-$name" 2> /dev/null && exit 1; done ;;
    hang) sleep 1000 ;;
    hang-once) mkdir "$canned/$name" 2> /dev/null && sleep 1000 ;;
    until-enough) while [ ! -e "$canned/enough" ]; do sleep 0.05; done ;;
    tell) while :; do echo '{"progress": {"epoch": 1, "epochs": 2, "fraction": 0.5}}'; sleep 0.1; done ;;
esac
record=$canned/record
[ "$mode" = diverge ] && record=$canned/diverged
partial=${run%/*}/partial-$$-$name
cp -r "$record" "$partial"
cp "$recipe" "$partial/recipe.json"
mv "$partial" "$run"
