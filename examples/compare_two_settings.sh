#!/usr/bin/env bash
# Train with two discounts and two seeds each, draw a report over all, and ask whether the discounts differ.
set -euo pipefail

settings=(
    benchmark.tasks=[cartpole-balance] model.width=32 train.env_steps=1000 eval.every_steps=500 eval.episodes=2
    tracking=off launcher=local launcher.max_parallel=2
)
for discount in 0.9 0.99; do
    python -m agents.run -m "${settings[@]}" seed=0,1 agent.discount=$discount paths.runs=runs/discount-$discount
done
python -m analysis.report runs/ --out report/

# The exit status says the same as the words: 0 cannot be told apart, 1 differ, 2 too few seeds to tell.
status=0
python -m analysis.compare runs/discount-0.9 runs/discount-0.99 || status=$?
echo "exit status $status"
