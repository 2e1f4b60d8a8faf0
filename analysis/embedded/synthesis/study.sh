#!/bin/sh
# The study of docs/synthesis.md: pictures into ./images, judged into ./results, drawn into ./figures-out. What is
# there is not made again, so it can be stopped at any time. A quiet core needs about an hour.
set -e
for seed in 0 10000; do
  common="--per-class 5 --steps 10 --guidance 2 --seed $seed --batch-size 10 --record-steps none"
  for ratio in 0.9 0.5 0.7 0.3; do
    methods=none,atc-average,atc-complete,atc-single,random
    if [ $ratio = 0.9 ]; then  # cells of 2 x 2 leave a quarter at least
      tokenlens synthesize --method tome-sd --option sx=4 --option sy=4 --ratio $ratio $common
    else
      methods=$methods,tome-sd
    fi
    tokenlens synthesize --method $methods --ratio $ratio $common
  done
done
tokenlens fid embedded:shapes images
# what is merged, of few pictures at every step and in both branches of guidance
tokenlens synthesize --method atc-average,atc-complete,atc-single,tome-sd --ratio 0.75 --steps 8 --per-class 1 --limit 4 \
  --out recorded
tokenlens compare recorded/runs
tokenlens figures quality,steps,latents --runs recorded/runs --format png
