-- Appends messages to a session, or tells of the append that was made under the same idempotency key.
-- KEYS: the tenant's register of sessions, the session. ARGV: the session's name in the register, now and when it is to end
-- (microseconds since 1970), its time to live (milliseconds), the most messages it keeps, the idempotency key or '-', the
-- hash of the body, and then the messages.
-- Gives 1 for a replay, else 0, and the receipt: body, first, last, total, end.
local register, session, name, now, ends = KEYS[1], KEYS[2], ARGV[1], tonumber(ARGV[2]), ARGV[3]
local ttl, most, key, body = ARGV[4], tonumber(ARGV[5]), ARGV[6], ARGV[7]
local given = 7
-- Lua would write large numbers as 1e+15.
local function digits(number)
  return string.format('%.0f', number)
end

local header = redis.call('HMGET', session, 'first', 'last', 'ends')
local first, last = tonumber(header[1]), tonumber(header[2])
if last and (tonumber(header[3]) <= now or not redis.call('ZSCORE', register, name)) then
  redis.call('UNLINK', session)
  last = nil
end
if not last then
  first, last = 1, 0
elseif key ~= '-' then
  local receipt = redis.call('HGET', session, 'key:' .. key)
  if receipt then
    return { 1, receipt }
  end
end

local count = #ARGV - given
local keep = math.max(first, last + count - most + 1)
local fields = { 'first', digits(keep), 'last', digits(last + count), 'ends', ends }
for at = 1, count do
  fields[#fields + 1] = digits(last + at)
  fields[#fields + 1] = ARGV[given + at]
end
local total = last + count - keep + 1
local receipt = table.concat({ body, digits(last + 1), digits(last + count), digits(total), ends }, ' ')
if key ~= '-' then
  fields[#fields + 1] = 'key:' .. key
  fields[#fields + 1] = receipt
end
-- The first write is one that a server without memory refuses: then nothing has changed.
redis.call('HSET', session, unpack(fields))
for sequence = first, keep - 1 do
  -- The last message of an append names its key.
  local its_key = string.match(redis.call('HGET', session, digits(sequence)), '^%d+ %d+ (%S+) ')
  redis.call('HDEL', session, digits(sequence), 'key:' .. its_key)
end
redis.call('PEXPIRE', session, ttl)
redis.call('ZADD', register, ends, name)
redis.call('ZREMRANGEBYSCORE', register, '-inf', ARGV[2])
-- As long as the last of its sessions.
redis.call('PEXPIRE', register, math.max(redis.call('PTTL', register), tonumber(ttl)))
return { 0, receipt }
