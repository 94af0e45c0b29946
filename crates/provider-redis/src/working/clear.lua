-- Ends sessions, or only counts: gives how many messages they held together.
-- KEYS: the tenant's register of sessions, the sessions. ARGV: now (microseconds since 1970), 'end' or 'count', and the
-- names of the sessions in the register, in the order of their keys.
local register, now, ends = KEYS[1], tonumber(ARGV[1]), ARGV[2] == 'end'
local messages = 0
for at = 2, #KEYS do
  local session, name = KEYS[at], ARGV[at + 1]
  local header = redis.call('HMGET', session, 'first', 'last', 'ends')
  if header[2] and tonumber(header[3]) > now and redis.call('ZSCORE', register, name) then
    messages = messages + tonumber(header[2]) - tonumber(header[1]) + 1
  end
  if ends then
    redis.call('ZREM', register, name)
    redis.call('UNLINK', session)
  end
end
return messages
