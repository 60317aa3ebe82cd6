#!/usr/bin/env bash
# Train the decoder on N processes of this machine; see launch.sh.
# Usage: scripts/launch_decoder.sh N [-d section.key=value ...] [-o data.key=value ...]
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
LAUNCHED_AS=$0 exec "$here/launch.sh" "$here/../main_decoder.py" "$@"
