"""The default configuration, and its schema."""

import yaml
from tiny_data import ROOT

SCHEMA = ROOT / "config" / "schema.yaml"
DEFAULTS = yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))
