#!/usr/bin/env bash
# Writes a manual page to standard output:
#
#   man.sh commands VERSION DATE PYTHON    codeq(1), from the help of the command line, run by that Python of the system
#   man.sh settings VERSION DATE FILE      codeq.yml(5), from the example of a configuration
set -euo pipefail

# verbatim: standard input as it stands, with nothing in it that roff would read.
verbatim() {
    sed -e 's/\\/\\e/g; s/-/\\-/g; s/^\([.'\'']\)/\\\&\1/' -e '1i .nf' -e '$a .fi'
}

case $1 in
commands)
    printf '.TH CODEQ 1 "%s" "codeq %s" "codeq"\n.SH NAME\ncodeq \\- a durable, multi\\-tenant task queue\n' "$3" "$2"
    printf '.SH SYNOPSIS\n.B codeq\n.I COMMAND\n[\\fIarguments\\fR]\n.SH DESCRIPTION\n'
    COLUMNS=78 "/usr/bin/$4" -B -m appliance.cli.main --help | sed '1,/^$/d' | verbatim
    printf '.PP\n.B codeq\n.I COMMAND\n.B \\-\\-help\nhas the arguments of each.\n'
    printf '.SH FILES\n.I /etc/codeq/codeq.yml\nis the configuration of the service, '
    printf '.I /var/lib/codeq\nits data.\n.SH SEE ALSO\n.BR codeq.yml (5),\n.I /usr/share/doc/codeq\n'
    ;;
settings)
    printf '.TH CODEQ.YML 5 "%s" "codeq %s" "codeq"\n.SH NAME\ncodeq.yml \\- configuration of a codeq node\n' "$3" "$2"
    printf '.SH DESCRIPTION\n'
    verbatim <"$4"
    printf '.SH SEE ALSO\n.BR codeq (1),\n.I /usr/share/doc/codeq/configuration.md\n'
    ;;
*)
    echo "man.sh: unknown page $1" >&2
    exit 2
    ;;
esac
