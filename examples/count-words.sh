#!/bin/sh
# A worker in plain shell, for `codeq worker run --commands count-words … -- examples/count-words.sh`.
# The task comes as one line of JSON; its payload is expected to be a text. What is printed is the result.
payload=$(sed -n 's/.*"payload": "\(.*\)"}$/\1/p')
if [ -z "$payload" ]; then
    echo "the payload is no text" >&2
    exit 65
fi
echo "$payload" | wc -w
