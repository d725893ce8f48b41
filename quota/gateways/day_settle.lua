-- ARGV hold, millionths of USD used, tokens used. What was used counts also where the hold had lapsed or was wiped away;
-- where nobody counts this day it does nothing: whoever begins to count reads the ledger.
-- The same hold is settled once, however often that is told.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
if not redis.call('SET', KEYS[3], 1, 'NX', 'EX', 900) then return 0 end
let_go(ARGV[1])
add('', tonumber(ARGV[2]), tonumber(ARGV[3]))
return 1
