"""Devices by name."""

import torch

from editing_core.errors import DeviceUnavailable


def device_named(name: str) -> torch.device:
    """The device called ``cpu``, ``cuda`` or ``cuda:1``, once a tensor has been put there.

    Raises:
        DeviceUnavailable: It is unknown to this PyTorch, or not in this machine.
    """
    try:
        return torch.zeros(1, device=name).device
    # What PyTorch raises depends on how it was built and what the driver says.
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
        raise DeviceUnavailable(
            f"device {name!r} cannot be used: {str(error).splitlines()[0]}; "
            f"this machine has {', '.join(['cpu', *gpus])} for this build of PyTorch"
        ) from error
