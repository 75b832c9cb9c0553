-- ARGV: format, token. Deletes a thread, whatever it is. Its lease is left: the holder may write it anew.
return redis.call('UNLINK', KEYS[1], KEYS[2])
