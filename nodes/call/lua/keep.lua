-- Keep an answer for a replay that came with no request of its own.
local ledger = key('ledger', ask.thread)
call('HSET', ledger, ask.call, int(now) .. ':' .. ask.answer)
call('PEXPIRE', ledger, int(limits.ledger_ms + 1000))
return answer('kept')
