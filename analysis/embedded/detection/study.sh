#!/bin/sh
# The study of docs/detection.md: runs into ./runs, the figure and table `detection` into ./figures-out, losses.csv. What is
# there is not made again, so it can be stopped at any time. One quiet core needs about half an hour.
set -e
common="--limit 160 --batch-size 8"
tokenlens detect --method none --keep-rate 1 $common
for rate in 0.5 0.25 0.7; do
  tokenlens detect --method atc-average,atc-complete,atc-single,tome,topk,random --keep-rate $rate $common
done
for seed in 1 2; do
  tokenlens detect --method random --keep-rate 0.5,0.25,0.7 --seed $seed $common
done
tokenlens figures detection --tables --format pdf,png
python -m tokenlens.workflows.small_objects
