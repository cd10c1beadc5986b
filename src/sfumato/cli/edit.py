"""`sfumato edit`: pictures like a picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sfumato.cli.picture_task import PictureTask, read_picture
from sfumato.cli.progress import counted

__all__ = ["Edit"]


@dataclass(frozen=True, kw_only=True)
class Edit(PictureTask):
    """Put noise on a picture and make others of it (SDEdit): 0000.png, 0001.png … and grid.png."""

    strength: float = 0.6
    """the time to start from: near 0 the picture hardly changes, at 1 nothing of it is left"""
    out: Path = Path("edits")
    """folder for the pictures"""

    def run(self) -> None:
        """Read, make, save."""
        from sfumato.files import check_writable
        from sfumato.generation.tasks.edit import edit
        from sfumato.generation.tasks.times import begun

        model = self.load()
        picture, request = self.scaled(read_picture(self.picture, model)), self.request()
        table = model.table(begun(model, request, self.strength))
        if self.show_table:
            print(table)
        check_writable(self.out, need_bytes=0)
        with counted("pictures") as progress:
            images = edit(
                model,
                picture,
                self.strength,
                self.n,
                request=request,
                seed=self.seed,
                label=self.label or None,
                prompt=self.prompt,
                batch=self.batch,
                progress=lambda done: progress(done, self.n),
            )
        self.save(images, self.out, table, f"strength {self.strength:g}")
