-- Decides on the charges of requests that only have hits for windows, each of a counter of its own, all of which are counted, or
-- none: most requests are such. What it answers is what decide.lua would; it takes a third of the time.
--
-- KEYS: the counters. ARGV[1]: the requests, packed as src/store/redis/wire.rs says, and so is what is returned. Counters are
-- bytes as decide.lua has them.

local call, spread = redis.call, unpack
local pack, unpack = struct.pack, struct.unpack
local ceil, fmod, max, min = math.ceil, math.fmod, math.max, math.min

local VERSION, WINDOW = 1, 1
-- The end of a counter that is not there, and what is kept of one that cannot be read.
local NEVER, UNREADABLE = 0, -1
local COUNTED, REFUSED, LATE, NOT_READ = 0, 1, 2, 3
local SLACK_OF_TESTS = 3600000

local clock = call('TIME')
local server_now = clock[1] * 1000000 + clock[2]
-- The time to count at, and how many milliseconds counters are kept after their end.
local now, slack = server_now, 2000

-- As many as Lua's stack has room for, in each command.
local many_keys, raws = #KEYS, nil
if many_keys <= 1000 then
  raws = call('MGET', spread(KEYS))
else
  raws = {}
  for first = 1, many_keys, 1000 do
    local some = call('MGET', spread(KEYS, first, min(first + 999, many_keys)))
    for at = 1, #some do
      raws[first + at - 1] = some[at]
    end
  end
end

-- Of each counter that was asked for: when its window ends and what is used of it, now and before. Tables begin as large as most
-- requests need them.
local tills, useds, tills_before, useds_before = { nil, nil, nil, nil }, { 0, 0, 0, 0 }, { 0, 0, 0, 0 }, { 0, 0, 0, 0 }

-- When the window of a counter ends that nobody has asked for yet.
local function load(place)
  local raw, till = raws[place], NEVER
  if not raw then
    -- A list or a hash, say, is none of ours.
    if call('EXISTS', KEYS[place]) == 1 then
      till = UNREADABLE
    end
  else
    local length = #raw
    local version, kind
    if length == 16 then
      version, kind, till, useds[place] = unpack('<BBI7I7', raw)
    end
    if version == VERSION and kind == WINDOW then
      tills_before[place], useds_before[place] = till, useds[place]
    else
      -- One of another kind is no open window, if it is one.
      version, kind = string.byte(raw, 1, 2)
      local is_other = (kind == 2 and length == 20) or (kind == 3 and length == 18)
        or (kind == 4 and length > 9 and (length - 9) % 14 == 0)
      till = version == VERSION and is_other and NEVER or UNREADABLE
    end
  end
  tills[place] = till
  return till
end

local packed, at = ARGV[1], 1
local length = #packed
-- What is told: the time, then for each request what became of it, and for each charge of it what was used before and how much
-- time its window has left.
local told, last = { server_now, 0, 0, 0, 0, 0, 0, 0 }, 1
-- Of each charge of a request: its counter, its hits, and when the window ends; how long that is, negated, where it only begins with
-- what is counted.
local places, hits_of, ends = { 0, 0 }, { 0, 0 }, { 0, 0 }

while at <= length do
  local many, deadline, given
  many, deadline, given, at = unpack('<I2i8i8', packed, at)
  if given >= 0 then
    now, slack = given, SLACK_OF_TESTS
  end
  local is_late = server_now > deadline
  local state = is_late and LATE or COUNTED
  local first = last + 1
  last = first
  for index = 1, many do
    local place, algorithm, hits, limit, window
    place, algorithm, hits, limit, window, at = unpack('<I2Bi8i8i8', packed, at)
    place = place + 1
    local till = tills[place] or load(place)
    if till == UNREADABLE then
      state = NOT_READ
    elseif not is_late then
      local used, tolerance = 0, window < 1000000 and window or 1000000
      if algorithm == 1 then
        local of_now = now - fmod(now, window) + window
        if now >= till then
          till = of_now
        else
          used = useds[place]
          if till > of_now and (till - now > window + tolerance or of_now - now > tolerance) then
            till, tills[place] = of_now, of_now
          end
        end
      elseif now >= till then
        till = -window
      else
        used = useds[place]
        if till - now > window + tolerance then
          till = now + window
          tills[place] = till
        end
      end
      if state == COUNTED and used + hits > limit then
        state = REFUSED
      end
      places[index], hits_of[index], ends[index] = place, hits, till
      told[last + 1] = used
      last = last + 2
    end
  end
  told[first] = state
  last = first
  if state <= REFUSED then
    for index = 1, many do
      local till, used = ends[index], told[last + 1]
      if state == COUNTED then
        local place = places[index]
        if till < 0 then
          till = now - till
        end
        tills[place], useds[place] = till, used + hits_of[index]
      elseif till < 0 then
        till = now
      end
      told[last + 2] = till > now and till - now or 0
      last = last + 2
    end
  end
end

-- A server that takes no writes refuses the first of them, so all are made, or none.
for place = 1, many_keys do
  local till = tills[place]
  if till and till > 0 then
    local used = useds[place]
    if tills_before[place] ~= till then
      local bytes = pack('<BBI7I7', VERSION, WINDOW, till, used)
      call('SET', KEYS[place], bytes, 'PX', max(ceil((till - now) / 1000), 0) + slack)
    elseif useds_before[place] ~= used then
      -- Its end stays, here and there.
      call('SETRANGE', KEYS[place], 9, pack('<I7', used))
    end
  end
end

-- As many numbers as Lua's stack has room for, in each piece.
if last <= 1000 then
  return pack('<' .. string.rep('i8', last), spread(told, 1, last))
end
local pieces = {}
for first = 1, last, 1000 do
  local final = min(first + 999, last)
  pieces[#pieces + 1] = pack('<' .. string.rep('i8', final - first + 1), spread(told, first, final))
end
return table.concat(pieces)
