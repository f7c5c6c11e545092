-- What left the site, and who let it out.
-- $since time = 2000-01-01: From then on.
SELECT seq, time, person, role, what, outcome, level, files
FROM media_out
WHERE time >= $since
ORDER BY seq
