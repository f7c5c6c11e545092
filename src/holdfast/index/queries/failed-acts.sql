-- Acts that did not end as intended, the newest first; what applications were refused is in the query denied.
-- $since time = 2000-01-01: From then on.
SELECT seq, started, act, person, outcome, result->>'error' AS error, coalesce(result->>'message', result->>'reason') AS why
FROM acts
WHERE outcome NOT IN ('done', 'open') AND NOT (act = 'serve.request' AND outcome = 'failed') AND started >= $since
ORDER BY seq DESC
