-- Ends a session, and gives how many messages it held.
-- KEYS: the session. ARGV: now (microseconds since 1970).
local header = redis.call('HMGET', KEYS[1], 'first', 'last', 'ends')
redis.call('UNLINK', KEYS[1])
if not header[2] or tonumber(header[3]) <= tonumber(ARGV[1]) then
  return 0
end
return tonumber(header[2]) - tonumber(header[1]) + 1
