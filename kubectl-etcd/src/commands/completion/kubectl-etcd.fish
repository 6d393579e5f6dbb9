# fish completion for kubectl-etcd.

function __kubectl_etcd
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l lines ($words[1] __complete $words[2..-1] "$current" 2>/dev/null)
    or return
    set -l directive $lines[-1]
    if test (count $lines) -gt 1
        printf '%s\n' $lines[1..-2]
        return
    end
    # A file as the value of --flag=.
    set -l value (string replace -r '^--[^=]*=' '' -- "$current")
    set -l flag (string match -r '^--[^=]*=' -- "$current")
    switch $directive
        case ':0'
            __fish_complete_path "$value" | string replace -r '^' -- "$flag"
        case ':16'
            __fish_complete_directories "$value" | string replace -r '^' -- "$flag"
    end
end

complete -c kubectl-etcd -f -a '(__kubectl_etcd)'
