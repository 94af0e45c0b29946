# Runs one server for as long as standard input is open: when the process that holds the other end of the pipe is gone,
# however it went, the server is ended and its folder removed. Orders come one a line; each is answered with one line.
#
# $1 is the folder, the rest is the server's command. PREPARE is run once before the first start. KILL, PAUSE, RESUME
# and END say how those are done to "$server", which is empty while it does not run.
folder=$1
shift
server=

children() {
    cat "/proc/$server/task/$server/children"
}

alive() {
    # Until the shell has looked for ended jobs, one still counts as a process.
    jobs >/dev/null 2>&1
    kill -0 "$server" 2>/dev/null
}

# Whoever gave the last order may not be there for its answer. Caught, not ignored: servers would inherit that.
trap : PIPE
eval "$PREPARE" </dev/null >>"$folder/log" 2>&1
while read -r order; do
    case $order in
        start)
            "$@" </dev/null >>"$folder/log" 2>&1 &
            server=$!
            echo "$server"
            ;;
        alive)
            if alive; then echo yes; else echo no; fi
            ;;
        kill)
            eval "$KILL" >>"$folder/log" 2>&1
            wait "$server" 2>/dev/null
            server=
            echo killed
            ;;
        pause)
            eval "$PAUSE" >>"$folder/log" 2>&1
            echo paused
            ;;
        resume)
            eval "$RESUME" >>"$folder/log" 2>&1
            echo resumed
            ;;
    esac
done
eval "$END" >/dev/null 2>&1
[ -z "$server" ] || wait "$server" 2>/dev/null
rm -rf "$folder"
