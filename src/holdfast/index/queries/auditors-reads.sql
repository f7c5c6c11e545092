-- What auditors read and asked, the newest first.
-- $since time = 2000-01-01: From then on.
SELECT seq, time, person, action, params->>'what' AS what, params->'request' AS request
FROM events
WHERE action IN ('audit.read', 'audit.result', 'audit.export', 'audit.checkpoint') AND time >= $since
ORDER BY seq DESC
