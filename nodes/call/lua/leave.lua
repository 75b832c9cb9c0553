-- Take a waiter out of all lines.
leave(ask.ep, ask.model, ask.id)
return answer('left')
