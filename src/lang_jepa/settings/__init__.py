"""What can be set, with defaults, rules and the reading of YAML files; of other rooms only `files` is read here."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lang_jepa.settings.load import load_decoder_settings, load_gpt_settings, load_settings

__all__ = ["load_decoder_settings", "load_gpt_settings", "load_settings"]


def __getattr__(name: str) -> Any:
    """The loaders, which read all kinds of settings, only when they are asked for."""
    if name in __all__:
        from lang_jepa.settings import load

        return getattr(load, name)
    raise AttributeError(f"module 'lang_jepa.settings' has no attribute '{name}'")
