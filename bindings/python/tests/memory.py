"""What this process holds, from the kernel: for the scripts that tests run in processes of their own."""

import pathlib


def kilobytes(field):
    """A field of /proc/self/status, in its kB."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":"))


def peak():
    """The most that this process has held, in MB. What `resource` says begins at the peak of the process that started it."""
    return kilobytes("VmHWM") / 1024
