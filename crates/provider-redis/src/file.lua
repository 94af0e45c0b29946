-- Files an answer, unless something of its tenant was removed since the mark that it comes with.
-- KEYS: the tenant, the entry, its response where that lies apart, and the mark of the index where the server has one.
-- ARGV: epoch and removals of the mark, the time to live (milliseconds), the response that lies apart or '', and then the
-- fields of the entry, each with its value.
-- Gives 1 if it is filed, else 0; the tenant's state: epoch, changes, removals; and the mark of the index.
local tenant, entry, response = KEYS[1], KEYS[2], KEYS[3]
local state = redis.call('HMGET', tenant, 'epoch', 'changes', 'removals')
if state[1] ~= ARGV[1] or (state[3] or '0') ~= ARGV[2] then
  return { 0, state, false }
end
-- The first write is one that a server without memory refuses: then nothing has changed. The former answer may be in a
-- process's memory, so its removal counts.
local former = redis.call('EXISTS', entry)
state[2] = string.format('%.0f', redis.call('HINCRBY', tenant, 'changes', former))
-- It goes whole: it may have fields that this one has not.
redis.call('UNLINK', entry, response)
if ARGV[4] ~= '' then
  redis.call('SET', response, ARGV[4], 'PX', ARGV[3])
end
redis.call('HSET', entry, unpack(ARGV, 5))
redis.call('PEXPIRE', entry, ARGV[3])
return { 1, state, KEYS[4] ~= nil and redis.call('GET', KEYS[4]) }
