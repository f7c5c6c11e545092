-- Everything that was done to one thing, in order.
-- $digest text: Its digest.
SELECT seq, time, person, role, action, meaning, cause
FROM deeds
WHERE subject_digest = $digest
ORDER BY seq
