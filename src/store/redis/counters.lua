-- What both scripts begin with: the time, the counters that they are asked about, and how fixed windows are counted. Each of
-- count.lua and decide.lua is joined to this file when the program is built.
--
-- KEYS: the counters. ARGV[1]: the requests, packed as src/store/redis/wire.rs says, and so is what is returned. Where ARGV[2] is the
-- secret that the counters are called by, the last of KEYS is where that is kept.

local call, spread = redis.call, unpack
local pack, unpack = struct.pack, struct.unpack
local ceil, max, min = math.ceil, math.max, math.min

-- A counter's bytes begin with the version, and the kind.
local VERSION, WINDOW = 1, 1
-- Counters are kept for as many milliseconds after their end: a replica's clock may be behind, and one that tests set by far.
local SLACK, SLACK_OF_TESTS = 2000, 3600000

local keys, packed, secret = KEYS, ARGV[1], ARGV[2]
local all_keys = #keys
local many_keys = secret and all_keys - 1 or all_keys

local clock = call('TIME')
local server_now = clock[1] * 1000000 + clock[2]
-- The time to count at.
local now, slack = server_now, SLACK

-- What is kept of each counter, in as many commands as Lua's stack asks for.
local raws
if all_keys <= 1000 then
  raws = call('MGET', spread(keys))
else
  raws = {}
  for first = 1, all_keys, 1000 do
    local some = call('MGET', spread(keys, first, min(first + 999, all_keys)))
    for at = 1, #some do
      raws[first + at - 1] = some[at]
    end
  end
end

-- Counted by another secret nobody else would see it: replicas that come after a server was emptied have another one. Where there is
-- none, this is the one.
if secret and raws[all_keys] ~= secret then
  if raws[all_keys] then
    return redis.error_reply('REKEYED the counters are called by another secret')
  end
  -- MGET takes a hash or a list for nothing, and what another program has there is not to be overwritten.
  if not call('SET', keys[all_keys], secret, 'NX') then
    return redis.error_reply('WRONGTYPE the key of the secret is no text')
  end
end

-- Functions name numbers and not the names above: a local of a chunk that a function uses costs each run of it some time.

-- The kind of a counter that is there; nil of one that another program wrote, or another version. MGET takes a hash or a list for
-- nothing, and what another program has there is not to be overwritten: of one that is not there it is 0.
local function kind_of(raw, key)
  if not raw then
    return redis.call('EXISTS', key) == 0 and 0 or nil
  end
  local version, kind = string.byte(raw, 1, 2)
  local length = #raw
  local is_whole = (kind == 1 and length == 16) or (kind == 2 and length == 20) or (kind == 3 and length == 18)
    or (kind == 4 and length > 9 and (length - 9) % 14 == 0)
  return version == 1 and is_whole and kind or nil
end

-- When the window ends that a counter is in, what is used of it, and whether it is open: else it is one that begins now. One whose end
-- is too far away, as its length was changed or a clock was set, ends with the window that would begin now: a clock may be
-- off by a second, or by a shorter window. Remainders are exact below 2^52.
local function open(till, used, is_aligned, window, now)
  local of_now = is_aligned and now - now % window + window or now + window
  if now >= till then
    return of_now, 0, false
  end
  if till > of_now then
    local tolerance = window < 1000000 and window or 1000000
    if till - now > window + tolerance or (is_aligned and of_now - now > tolerance) then
      return of_now, used, true
    end
  end
  return till, used, true
end

