"""`sfumato reconstruct`: what an autoencoder makes of pictures, and how much is lost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

__all__ = ["Reconstruct"]


@dataclass(frozen=True)
class Reconstruct:
    """Encode and decode pictures: pairs.png, originals above reconstructions, and report.json.

    Of the data that the autoencoder was trained on, what training kept back and what it learned from are reported
    apart.
    """

    autoencoder: Positional[Path]
    """folder of an autoencoder, or of the run that made it"""
    data: str
    """the pictures: a name, a packed file or a folder"""
    n: int = 2_000
    """pictures of each kind, at most"""
    size: int | None = None
    """side of the pictures; default: as the autoencoder was trained"""
    tile: int | None = None
    """work in tiles of so many latent positions, such as 64, so that large pictures fit into memory"""
    out: Path = Path("reconstructions")
    """folder for pairs.png and report.json"""
    device: str = "cpu"
    """cpu, cuda …, or auto"""

    def run(self) -> None:
        """Reconstruct, measure, save, print."""
        import json
        from dataclasses import asdict

        from sfumato.data.sources import open_data
        from sfumato.errors import InputError
        from sfumato.evaluation.reconstruction import installed_features, measure, pairs, some
        from sfumato.files import check_writable, write_text
        from sfumato.generation.autoencoder import load_autoencoder
        from sfumato.images import save_png
        from sfumato.models.autoencoder import reconstruction_table
        from sfumato.training.autoencoder_folder import parts_of

        if self.n < 1:
            raise InputError(f"n must be at least 1, not {self.n}")
        codec = load_autoencoder(self.autoencoder, self.device, self.tile)
        spec = codec.spec
        data = open_data(self.data, size=self.size or spec.size, mode={1: "L", 3: "RGB"}.get(spec.network.in_channels))
        features = installed_features(str(codec.device))
        check_writable(self.out, need_bytes=0)
        reports, sheet = [], None
        for which, part in parts_of(data, spec).items():
            originals = some(part, self.n)
            report, made = measure(codec, originals, which, features)
            reports.append(report)
            sheet = pairs(originals, made) if sheet is None else sheet
        assert sheet is not None  # there is at least one part
        save_png(self.out / "pairs.png", sheet, {"Description": "originals above reconstructions"})
        facts = {"autoencoder": spec.name, "data": data.name, "fingerprint": data.fingerprint, "tile": self.tile}
        write_text(self.out / "report.json", json.dumps({**facts, "reports": [*map(asdict, reports)]}, indent=1) + "\n")
        print("\n".join(reconstruction_table(tuple(reports))))
        print(f"originals above reconstructions: {self.out / 'pairs.png'}")
