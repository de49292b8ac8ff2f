"""Creates job files on the demonstration's model, as small as a job can be while it still has every stage."""

import json

from harness import places


def small_job(output, **changes):
    """Returns a conversion of a few seconds: 12 steps, two ranks, a checkpoint every 4 steps, no evaluation.

    `changes` replace whole keys; a dict is merged into the key's own.
    """
    job = {
        "name": "small",
        "source": {"checkpoint": str(places.MODEL)},
        "recipe": "paper",
        "target": {"kv_heads": 2},
        "calibration": {"data": str(places.TRAINING_TEXT), "sequences": 8, "sequence_length": 64},
        "alignment": {"method": "procrustes", "compare": "value", "similarity": "cosine"},
        "finetune": {"method": "l0", "steps": 12, "batch_sequences": 2, "micro_batch_sequences": 1,
                     "sequence_length": 32, "learning_rate": 1.0e-3, "ranks": 2, "precision": "float32",
                     "checkpoint_every_steps": 4},
        "output": {"checkpoint": str(output)},
    }
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(job.get(key), dict):
            job[key] = {**job[key], **value}
        else:
            job[key] = value
    return job


def aligned_only(output, **changes):
    """Returns a job that merges no head, so that it has neither training nor a gang."""
    return small_job(output, **{"target": {"kv_heads": 8}, "finetune": {"method": "none"}, **changes})


def evaluation(windows=8):
    return {"perplexity": {"data": str(places.HELD_OUT_TEXT), "sequence_length": 64, "max_windows": windows}}


def write(path, job):
    """Writes the job file as JSON, which is valid YAML."""
    path.write_text(json.dumps(job, indent=1))
    return path
