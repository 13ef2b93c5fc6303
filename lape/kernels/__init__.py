"""The hot loops as torch operators: their schema, their oracle in plain torch, and the extension that runs them."""
