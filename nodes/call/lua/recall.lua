-- Return an answer that was kept, if it is not too old.
local kept = call('HGET', key('ledger', ask.thread), ask.call)
local at, text = string.match(kept or '', '^(%d+):(.*)$')
if at and now - tonumber(at) <= limits.ledger_ms then return answer('kept', {answer = text}) end
return answer('none')
