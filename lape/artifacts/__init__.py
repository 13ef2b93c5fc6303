"""Files on disk: atomic writes, headers, parts kept over an interruption, the manifest, downloads, code closures."""
