#!/usr/bin/env bash
# Train the encoder on N processes of this machine; see launch.sh.
# Usage: scripts/launch_encoder.sh N [--nodes M --node I --at HOST:PORT] [-o section.key=value ...]
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
LAUNCHED_AS=$0 exec "$here/launch.sh" "$here/../main_encoder.py" "$@"
