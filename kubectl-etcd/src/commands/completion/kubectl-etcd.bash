# bash completion for kubectl-etcd; works with and without bash-completion.

__kubectl_etcd() {
    local cur='' cword=0 words=() out line directive kept=''
    if declare -F _get_comp_words_by_ref >/dev/null 2>&1; then
        _get_comp_words_by_ref -n '=:' cur words cword
    else
        # bash splits words at = and :, too.
        local index joined=false
        for ((index = 0; index <= COMP_CWORD; index++)); do
            line=${COMP_WORDS[index]}
            if [[ $line == [=:] && $index -gt 0 ]]; then
                words[${#words[@]}-1]+=$line
                joined=true
            elif [[ $joined == true ]]; then
                words[${#words[@]}-1]+=$line
                joined=false
            else
                words+=("$line")
            fi
        done
        cword=$((${#words[@]} - 1))
        cur=${words[cword]}
    fi
    out=$("${words[0]/#\~/$HOME}" __complete "${words[@]:1:cword-1}" "$cur" 2>/dev/null) || return
    directive=${out##*:}
    COMPREPLY=()
    while IFS= read -r line; do
        line=${line%%$'\t'*}
        [[ -n $line ]] && COMPREPLY+=("$line")
    done <<<"${out%:*}"
    # What stands before the last = or : is not replaced.
    if [[ $cur == *=* && $COMP_WORDBREAKS == *=* ]]; then
        kept=${cur%"${cur##*=}"}
    fi
    if [[ $cur == *:* && $COMP_WORDBREAKS == *:* ]]; then
        line=${cur%"${cur##*:}"}
        [[ ${#line} -gt ${#kept} ]] && kept=$line
    fi
    [[ ${#COMPREPLY[@]} -gt 0 ]] && COMPREPLY=("${COMPREPLY[@]#"$kept"}")
    # bash 3 has no compopt, and completes files where there is no candidate.
    if type -t compopt >/dev/null; then
        case $directive in
            4) compopt +o default ;;
            16) compopt +o default -o dirnames ;;
        esac
        [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == */ ]] && compopt -o nospace
    fi
    return 0
}

complete -o default -F __kubectl_etcd kubectl-etcd
