"""What may befall a writer between any two of its file operations: a power cut, or a disk that is full."""

import errno
import io
import os

OPERATIONS = ("open", "replace", "rename", "unlink", "mkdir", "rmdir", "chmod", "fsync")


class PowerCut(BaseException):
    """Like a SIGKILL: nothing that comes after it, not even what `finally` says, reaches the disk."""


class Disk:
    """Stands before all file operations while a test's `patch` lasts, and counts them.

    Args:
        fails: number of the operation that is not done any more; None: all are done.
        how: "cut", and nothing is done from then on; "full", and nothing that takes room is, from then on; "once".
    """

    def __init__(self, patch, fails=None, how="cut"):
        self.fails, self.how, self.done = fails, how, []
        for name in OPERATIONS:
            self._stand_before(patch, os, name, name)
        self._stand_before(patch, io, "open", "open")
        self._stand_before(patch, __import__("builtins"), "open", "open")

    def _stand_before(self, patch, module, attribute, name):
        honest = getattr(module, attribute)

        def operation(path, *more, **options):
            self.note(name, path, *more)
            return honest(path, *more, **options)

        patch.setattr(module, attribute, operation)

    def note(self, name, path, *more):
        if self.fails is not None and len(self.done) >= self.fails:
            if self.how == "cut":
                raise PowerCut
            if self.how == "full" and name not in ("unlink", "rmdir"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if self.how == "once" and len(self.done) == self.fails:
                self.done.append(("failed",))
                raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.done.append((name, path, *more))
