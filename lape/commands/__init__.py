"""One module a subcommand of `lape`: reads artifacts, calls the library, writes artifacts."""
