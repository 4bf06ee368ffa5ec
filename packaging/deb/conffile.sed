# From docs/codeq.example.yml to the configuration that is installed: the example names a certificate and keys, which a
# fresh machine doesn't have. Commented out, the node makes its own at the first start.
s/^( +)([a-z-])/\1#\2/
