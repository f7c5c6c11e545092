-- What was done about sealed prompts and answers, and why.
SELECT seq, time, person, role, action, request, class, reason
FROM payload_acts
ORDER BY seq
