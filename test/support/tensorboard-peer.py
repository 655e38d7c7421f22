"""Reads a run folder with the real TensorBoard and prints, as JSON, every scalar by tag as [step, value] pairs and every image
by tag as [step, width, height, SHA-256 of its file].
"""
import hashlib
import json
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "images": 0, "tensors": 0})
events.Reload()
tags = events.Tags()
print(
    json.dumps(
        {
            "scalars": {tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in tags["scalars"]},
            "images": {
                tag: [
                    [e.step, e.width, e.height, hashlib.sha256(e.encoded_image_string).hexdigest()]
                    for e in events.Images(tag)
                ]
                for tag in tags["images"]
            },
        }
    )
)
