-- ARGV: format. Answers {fields and values, members} of the whole thread.
return {redis.call('HGETALL', data), redis.call('ZRANGE', index, 0, -1)}
