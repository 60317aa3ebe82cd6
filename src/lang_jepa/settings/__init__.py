"""All settings with their defaults and rules, and the reading of YAML; depends on no other package but `files`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lang_jepa.settings.load import load_decoder_settings, load_gpt_settings, load_settings

__all__ = ["load_decoder_settings", "load_gpt_settings", "load_settings"]


def __getattr__(name: str) -> Any:
    """Import the loaders, which need every kind of settings, on first use."""
    if name in __all__:
        from lang_jepa.settings import load

        return getattr(load, name)
    raise AttributeError(f"module 'lang_jepa.settings' has no attribute '{name}'")
