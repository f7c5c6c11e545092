-- What each name that applications use stood for, since when, and who decided so.
SELECT c.seq, c.time, c.alias, c.change, c.release, r.requester, c.person, r.run, c.product, r.gate_seq, c.switched, c.reason
FROM alias_changes AS c
LEFT JOIN releases AS r ON r.seq = c.release
ORDER BY c.seq
