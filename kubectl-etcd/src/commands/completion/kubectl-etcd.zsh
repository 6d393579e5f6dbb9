#compdef kubectl-etcd
# zsh completion for kubectl-etcd.

_kubectl_etcd() {
    local out line name directive
    local -a lines candidates
    out=$("${words[1]/#\~/$HOME}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null) || return 1
    lines=("${(@f)out}")
    directive=${lines[-1]#:}
    for line in "${(@)lines[1,-2]}"; do
        name=${line%%$'\t'*}
        candidates+=("${name//:/\\:}${${line#$name}/#$'\t'/:}")
    done
    if (( ${#candidates} )); then
        _describe -V kubectl-etcd candidates
        return
    fi
    [[ ${words[CURRENT]} == --*=* ]] && compset -P '*='
    case $directive in
        0) _files ;;
        16) _files -/ ;;
        *) return 1 ;;
    esac
}

if [[ ${funcstack[1]} == _kubectl_etcd || ${funcstack[1]} == _kubectl-etcd ]]; then
    _kubectl_etcd "$@"
else
    compdef _kubectl_etcd kubectl-etcd
fi
