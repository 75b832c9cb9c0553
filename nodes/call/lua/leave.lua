-- Take a waiter out of the line.
leave(ask.ep, ask.id)
return answer('left')
