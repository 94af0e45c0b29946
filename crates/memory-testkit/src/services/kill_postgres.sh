# A crash of the whole server: no process of it does anything more. Stopped first, it starts no other meanwhile.
kill -STOP "$server"
killed=$(children)
shared=$(for one in "$server" $killed; do sed -n 's|.* \(/dev/shm/PostgreSQL\.[0-9]*\).*|\1|p' "/proc/$one/maps"; done)
kill -KILL "$server" $killed
wait "$server" 2>/dev/null
# It starts again only when none of them holds its memory. Where nobody collects them, they stay as zombies.
for one in $killed; do
    while read -r _ _ state _ <"/proc/$one/stat" && [ "$state" != Z ]; do sleep 0.01; done 2>/dev/null
done
# A server that is not started again would leave its shared memory behind.
rm -f $shared
ipcrm -m "$(awk 'NR == 7 { print $2 }' "$folder/data/postmaster.pid")"
