-- Acts that have no outcome yet.
SELECT seq, started, act, person, subject_kind, subject_digest
FROM acts
WHERE outcome = 'open'
ORDER BY seq
