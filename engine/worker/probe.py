"""What torch sees on this machine, as one line of JSON on stdout: `python -m engine.worker.probe`."""

from __future__ import annotations

import json
import os


def main() -> None:
    channel = os.dup(1)
    os.dup2(2, 1)  # what libraries print while they are imported is not the answer
    import torch

    devices = [
        {
            "name": torch.cuda.get_device_name(index),
            "memory_bytes": torch.cuda.get_device_properties(index).total_memory,
            "bfloat16": torch.cuda.is_bf16_supported(including_emulation=False),
        }
        for index in range(torch.cuda.device_count())
    ]
    answer = {
        "cuda_build": torch.version.cuda or torch.version.hip or "",
        "devices": devices,
        "mps": torch.backends.mps.is_available(),
        "threads": torch.get_num_threads(),
    }
    os.write(channel, json.dumps(answer).encode())


if __name__ == "__main__":
    main()
