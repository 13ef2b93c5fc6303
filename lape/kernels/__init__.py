"""The hot loops as operators of torch: their schema, their oracle in plain torch, the extension that runs them."""
