-- Acts that did not end as intended, the newest first.
-- $since time = 2000-01-01: From then on.
SELECT seq, started, act, person, outcome, result->>'error' AS error, coalesce(result->>'message', result->>'reason') AS why
FROM acts
WHERE outcome NOT IN ('done', 'open') AND started >= $since
ORDER BY seq DESC
