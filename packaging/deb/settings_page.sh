#!/usr/bin/env bash
# Writes codeq.yml(5) to standard output, from the example of a configuration:
#
#   settings_page.sh VERSION FILE
set -euo pipefail

# verbatim: standard input as it stands, with nothing in it that roff would read.
verbatim() {
    sed -e 's/\\/\\e/g; s/-/\\-/g; s/^\([.'\'']\)/\\\&\1/' -e '1i .nf' -e '$a .fi'
}

printf '.TH CODEQ.YML 5 "" "codeq %s" "codeq"\n.SH NAME\ncodeq.yml \\- configuration of a codeq node\n' "$1"
printf '.SH DESCRIPTION\n'
verbatim <"$2"
printf '.SH FILES\n.I /etc/codeq/codeq.yml\nis what the service reads.\n'
printf '.SH SEE ALSO\n.BR codeq (1),\n.BR codeq\\-config (1),\n.I /usr/share/doc/codeq/configuration.md\n'
