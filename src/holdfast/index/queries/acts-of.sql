-- What one person did, the newest first.
-- $person text: Whose deeds.
-- $since time = 2000-01-01: From then on.
-- $until time = 9999-01-01: Before then.
SELECT seq, time, role, action, meaning, subject_kind, subject_name, subject_digest
FROM deeds
WHERE person = $person AND time >= $since AND time < $until
ORDER BY seq DESC
