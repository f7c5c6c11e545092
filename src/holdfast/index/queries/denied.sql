-- What was asked for and refused, by whom and how often, the most frequent first.
-- $since time = 2000-01-01: From then on.
SELECT action, person, uid, worker, wanted, reason, sum(count) AS refusals, min(time) AS first, max(time) AS last
FROM denials
WHERE time >= $since
GROUP BY ALL
ORDER BY refusals DESC, last DESC
