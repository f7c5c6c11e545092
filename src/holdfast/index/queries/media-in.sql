-- Media that were brought in, and what was decided about them.
SELECT seq, started, requester, name, version, publisher, outcome, decision, decided_by, generation, error
FROM media_in
ORDER BY seq
