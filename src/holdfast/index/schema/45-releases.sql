-- Which run stands behind which name that applications use, who decided so, and when that changed.

CREATE VIEW releases AS
SELECT
    p.seq, p.time, p.person AS requester, p.params->'release'->>'alias' AS alias, p.params->'release'->>'kind' AS kind,
    p.params->'release'->>'product' AS product, p.params->'release'->>'run' AS run, p.params->'release'->>'base' AS base,
    p.params->'release'->>'lora' AS lora, p.params->'release'->>'evaluation' AS evaluation,
    TRY_CAST(p.params->'release'->>'decided' AS BIGINT) AS gate_seq,
    CASE WHEN d.action IS NULL THEN 'open' WHEN d.action = 'release.refused' THEN 'refused' ELSE 'approved' END AS decision,
    d.person AS decided_by, d.seq AS decided_seq, d.time AS decided, d.params->>'reason' AS reason
FROM events AS p
LEFT JOIN events AS d
    ON d.action IN ('release.approve.done', 'release.refused') AND TRY_CAST(d.params->>'request' AS BIGINT) = p.seq
WHERE p.action = 'release.proposed';
COMMENT ON VIEW releases IS 'Every release that was proposed, and what a second person decided.';
COMMENT ON COLUMN releases.seq IS 'The release''s number: the event that proposed it.';
COMMENT ON COLUMN releases.time IS 'When it was proposed, UTC.';
COMMENT ON COLUMN releases.requester IS 'Who proposed it.';
COMMENT ON COLUMN releases.alias IS 'The model id that applications use.';
COMMENT ON COLUMN releases.kind IS 'adapter or model: what the run made.';
COMMENT ON COLUMN releases.product IS 'Digest of that.';
COMMENT ON COLUMN releases.run IS 'Digest of the run.';
COMMENT ON COLUMN releases.base IS 'Digest of the base that was customised.';
COMMENT ON COLUMN releases.lora IS 'Digest of the adapter''s quantized file; null if the weights hold all that was learnt.';
COMMENT ON COLUMN releases.evaluation IS 'Digest of the evaluation that the gate judged.';
COMMENT ON COLUMN releases.gate_seq IS 'The event that holds the gate''s verdict.';
COMMENT ON COLUMN releases.decision IS 'open, approved or refused.';
COMMENT ON COLUMN releases.decided_by IS 'Who decided.';
COMMENT ON COLUMN releases.decided_seq IS 'The decision.';
COMMENT ON COLUMN releases.decided IS 'When, UTC.';
COMMENT ON COLUMN releases.reason IS 'Why it was refused.';

CREATE VIEW alias_changes AS
SELECT
    seq, time, person, params->>'alias' AS alias,
    CASE WHEN action = 'release.approve.done' THEN 'approved' ELSE 'rolled back' END AS change,
    TRY_CAST(coalesce(params->>'to', params->>'request') AS BIGINT) AS release, params->>'product' AS product,
    TRY_CAST(params->>'switched' AS BOOLEAN) AS switched, params->>'reason' AS reason
FROM events
WHERE action IN ('release.approve.done', 'release.rollback.done');
COMMENT ON VIEW alias_changes IS 'Every change of what an alias stands for; the last one of an alias is in force.';
COMMENT ON COLUMN alias_changes.seq IS 'The event.';
COMMENT ON COLUMN alias_changes.time IS 'When, UTC.';
COMMENT ON COLUMN alias_changes.person IS 'Who approved it, or rolled it back.';
COMMENT ON COLUMN alias_changes.alias IS 'The alias.';
COMMENT ON COLUMN alias_changes.change IS 'approved or rolled back.';
COMMENT ON COLUMN alias_changes.release IS 'The release that it stands for from then on.';
COMMENT ON COLUMN alias_changes.product IS 'Digest of what that run made.';
COMMENT ON COLUMN alias_changes.switched IS 'Whether a running server switched with it.';
COMMENT ON COLUMN alias_changes.reason IS 'Why it was rolled back.';
