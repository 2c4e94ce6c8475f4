# `bash completion.sh SCRIPT LINE`: what the sourced script offers at the end of the line, a word a line.
source "$1"
COMP_LINE="$2"
read -ra COMP_WORDS <<< "$COMP_LINE"
[[ $COMP_LINE == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
COMP_POINT=${#COMP_LINE}
COMP_TYPE=9 # TAB
program=${COMP_WORDS[0]}
read -ra registered <<< "$(complete -p "$program")"
"${registered[-2]}" "$program"
(( ${#COMPREPLY[@]} )) && printf '%s\n' "${COMPREPLY[@]}"
exit 0
