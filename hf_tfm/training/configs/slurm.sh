#!/usr/bin/env bash
# Two nodes of eight GPUs under SLURM: sbatch hf_tfm/training/configs/slurm.sh --task causal-lm --train_file "data/*.jsonl"
# The tests check only the syntax of this file. A job that reaches its time limit resumes from its last checkpoint when
# the same command is submitted again.
#SBATCH --job-name=hf_tfm
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
set -euo pipefail

first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export OMP_NUM_THREADS=4
srun torchrun \
    --nnodes "$SLURM_NNODES" --nproc-per-node 8 \
    --rdzv-id "$SLURM_JOB_ID" --rdzv-backend c10d --rdzv-endpoint "$first:29500" \
    train.py --bf16 true "$@"
