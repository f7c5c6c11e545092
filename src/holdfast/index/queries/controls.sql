-- Which control of NIST SP 800-53 is served by which events, and how many of them there are.
SELECT t.control, t.action, count(e.seq) AS events, max(e.time) AS last
FROM (SELECT action, unnest(controls) AS control FROM event_types) AS t
LEFT JOIN events AS e ON e.action = t.action
GROUP BY t.control, t.action
ORDER BY t.control, t.action
