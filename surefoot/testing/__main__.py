"""`python -m surefoot.testing [--profile NAME]`: serve a misbehaving endpoint for other processes; prints its URL."""

from __future__ import annotations

import argparse
import sys
import threading

from surefoot.testing import PROFILES, default_responder, misbehaving_endpoint, profile_of, support_responder


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--profile", choices=PROFILES, help="how it misbehaves; without one it behaves")
    parser.add_argument("--latency", type=float, help="seconds that an answer takes")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--no-json-schema", action="store_true", help="refuse response_format json_schema")
    parser.add_argument("--responder", choices=("support", "default"), default="support")
    asked = parser.parse_args()
    profile = profile_of(asked.profile) if asked.profile else None
    with misbehaving_endpoint(profile, seed=asked.seed, port=asked.port) as endpoint:
        endpoint.json_schema = not asked.no_json_schema
        endpoint.responder = support_responder if asked.responder == "support" else default_responder
        if asked.latency is not None:
            endpoint.latency_s = asked.latency
        sys.stdout.write(endpoint.url + "\n")
        sys.stdout.flush()
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
