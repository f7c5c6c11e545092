-- Training runs and what their gates decided.
SELECT
    r.seq, r.started, r.person, r.outcome, r.steps, r.tokens, r.final_loss, g.go, g.reasons, g.seq AS gate_seq, r.adapter, r.model
FROM runs AS r
LEFT JOIN gates AS g ON g.run = r.run
ORDER BY r.seq, g.seq
