"""The `codeq` command: one module per subcommand, each a plain function from arguments to an exit status."""
