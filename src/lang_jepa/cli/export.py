"""What `lang-jepa export` does with a GPT."""

from pathlib import Path

from lang_jepa.cli.console import plain


def export_quantised(run: Path, file: Path, to: str, *, gptq: bool, clip: str | None, codec: str, cap: int) -> None:
    """Write a GPT in a few bits a weight, and say what that costs."""
    from lang_jepa.export.gpt import export_gpt
    from lang_jepa.export.quantise import parse_rounding

    done = export_gpt(run, file, parse_rounding(8 if to == "int8" else 6, clip), gptq=gptq, codec=codec, cap=cap)
    share = done.written.bytes / done.written.cap
    plain(f"{file}: {done.written.bytes:,} bytes, {share:.1%} of the cap of {done.written.cap:,}")
    plain(f"  {done.parameters:,} parameters, {8 * done.written.bytes / done.parameters:.2f} bits each")
    plain(f"  bits per byte  {done.before.val_bpb:.5f} before, {done.after.val_bpb:.5f} after: {done.gap:+.5f}")
