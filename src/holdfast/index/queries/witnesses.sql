-- Who witnesses the log, what they last saw, and how much came after it.
SELECT w.witness, w.added, w.added_by, w.removed, w.cosignatures, w.last_size, w.last_time, h.size - w.last_size AS since
FROM witnesses AS w, head AS h
ORDER BY w.added_seq
