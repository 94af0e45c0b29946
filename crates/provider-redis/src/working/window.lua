-- Reads the newest messages of a session that fit, and no others.
-- KEYS: the session. ARGV: now (microseconds since 1970), the most messages, the most tokens, the most bytes.
-- Gives the numbers of the first and the last message of the session, when it ends, and the messages, newest first; or
-- nothing when there is no session.
local session = KEYS[1]
local header = redis.call('HMGET', session, 'first', 'last', 'ends')
local first, last = tonumber(header[1]), tonumber(header[2])
if not last or tonumber(header[3]) <= tonumber(ARGV[1]) then
  return false
end
local most_tokens, most_bytes = tonumber(ARGV[3]), tonumber(ARGV[4])
local messages, tokens, bytes = {}, 0, 0
for sequence = last, math.max(first, last - tonumber(ARGV[2]) + 1), -1 do
  local message = redis.call('HGET', session, string.format('%.0f', sequence))
  local its_tokens, its_bytes = string.match(message, '^(%d+) (%d+) ')
  tokens, bytes = tokens + its_tokens, bytes + its_bytes
  if tokens > most_tokens or bytes > most_bytes then
    break
  end
  messages[#messages + 1] = message
end
return { header[1], header[2], header[3], messages }
