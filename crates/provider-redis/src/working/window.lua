-- Reads the messages of a session that were asked for and fit, and no others.
-- KEYS: the tenant's register of sessions, the session. ARGV: the session's name in the register, now (microseconds since
-- 1970), the most messages, the most tokens, the most bytes, and the number after which to read on, or nothing.
-- Gives the numbers of the first and the last message of the session, when it ends, and the messages: newest first, or
-- oldest first where it reads on; or nothing when there is no session.
local register, session = KEYS[1], KEYS[2]
local header = redis.call('HMGET', session, 'first', 'last', 'ends')
local first, last = tonumber(header[1]), tonumber(header[2])
if not last or tonumber(header[3]) <= tonumber(ARGV[2]) or not redis.call('ZSCORE', register, ARGV[1]) then
  return false
end
local most, most_tokens, most_bytes, after = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local from, to, step = last, math.max(first, last - most + 1), -1
if after then
  from, step = math.max(first, after + 1), 1
  to = math.min(last, from + most - 1)
end
local messages, tokens, bytes = {}, 0, 0
for sequence = from, to, step do
  local message = redis.call('HGET', session, string.format('%.0f', sequence))
  local its_tokens, its_bytes = string.match(message, '^(%d+) (%d+) ')
  tokens, bytes = tokens + its_tokens, bytes + its_bytes
  if tokens > most_tokens or bytes > most_bytes then
    break
  end
  messages[#messages + 1] = message
end
return { header[1], header[2], header[3], messages }
