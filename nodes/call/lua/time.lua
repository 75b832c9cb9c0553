-- Tell the time, which every answer does.
return answer('time')
