-- Acts that took two persons: who asked, and who decided.
SELECT seq, started AS time, act, coalesce(asked->>'requester', '') AS requester, person AS second_person, outcome
FROM acts
WHERE act IN ('bundle.admit', 'bundle.reject', 'exception.grant', 'release.approve', 'request.grant', 'sealed.unseal', 'sealed.erase', 'sealed.retention')
ORDER BY seq
