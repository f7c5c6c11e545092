-- How much each person did in each role, and when last.
SELECT person, role, count(*) AS events, count(*) FILTER (phase = 'intent') AS acts, min(time) AS first, max(time) AS last
FROM events
GROUP BY person, role
ORDER BY person, role
