-- What came in and what went out.

CREATE VIEW media_in AS
SELECT
    i.seq, i.started, i.person AS requester, i.asked->>'path' AS path, coalesce(i.result->>'name', v.params->>'name') AS name,
    coalesce(i.result->>'version', v.params->>'version') AS version, i.result->>'publisher' AS publisher,
    coalesce(i.result->>'manifest', v.params->>'manifest') AS manifest, TRY_CAST(i.result->>'bytes' AS BIGINT) AS bytes,
    CAST(json_array_length(i.result, '$.missing') AS BIGINT) AS missing, i.outcome, i.outcome_seq,
    i.result->>'message' AS error, coalesce(d.act, 'none') AS decision, d.outcome AS decision_outcome,
    d.person AS decided_by, d.seq AS decided_seq, TRY_CAST(d.result->>'generation' AS BIGINT) AS generation
FROM acts AS i
LEFT JOIN events AS v ON v.action = 'bundle.verified' AND v.cause = i.seq
LEFT JOIN acts AS d
    ON d.act IN ('bundle.admit', 'bundle.reject', 'bundle.discard') AND TRY_CAST(d.asked->>'request' AS BIGINT) = i.seq
WHERE i.act = 'bundle.import';
COMMENT ON VIEW media_in IS 'Every import of a medium, and what a second person decided about it.';
COMMENT ON COLUMN media_in.seq IS 'The request''s number.';
COMMENT ON COLUMN media_in.started IS 'When it was asked for, UTC.';
COMMENT ON COLUMN media_in.requester IS 'Who asked.';
COMMENT ON COLUMN media_in.path IS 'Where the medium was mounted.';
COMMENT ON COLUMN media_in.name IS 'The bundle''s name.';
COMMENT ON COLUMN media_in.version IS 'The bundle''s version.';
COMMENT ON COLUMN media_in.publisher IS 'Who published it.';
COMMENT ON COLUMN media_in.manifest IS 'Digest of its manifest.';
COMMENT ON COLUMN media_in.bytes IS 'Its size in all.';
COMMENT ON COLUMN media_in.missing IS 'Volumes that were still missing afterwards.';
COMMENT ON COLUMN media_in.outcome IS 'done, failed, cancelled, interrupted or open.';
COMMENT ON COLUMN media_in.outcome_seq IS 'Sequence number of the outcome.';
COMMENT ON COLUMN media_in.error IS 'Why it was refused or failed.';
COMMENT ON COLUMN media_in.decision IS 'bundle.admit, bundle.reject, bundle.discard or none.';
COMMENT ON COLUMN media_in.decision_outcome IS 'How that ended.';
COMMENT ON COLUMN media_in.decided_by IS 'Who decided.';
COMMENT ON COLUMN media_in.decided_seq IS 'The decision.';
COMMENT ON COLUMN media_in.generation IS 'The generation that an admission made.';

CREATE VIEW generations AS
SELECT
    seq, time, person, action, TRY_CAST(params->>'generation' AS BIGINT) AS generation,
    TRY_CAST(params->>'request' AS BIGINT) AS request, params->>'requester' AS requester, params->>'reason' AS reason
FROM events
WHERE action IN ('bundle.admit.done', 'bundle.rollback.done');
COMMENT ON VIEW generations IS 'What was in force when: every admission and every rollback.';
COMMENT ON COLUMN generations.seq IS 'The event from which the generation is in force.';
COMMENT ON COLUMN generations.time IS 'When it was recorded, UTC.';
COMMENT ON COLUMN generations.person IS 'Who admitted or rolled back.';
COMMENT ON COLUMN generations.action IS 'bundle.admit.done or bundle.rollback.done.';
COMMENT ON COLUMN generations.generation IS 'The generation.';
COMMENT ON COLUMN generations.request IS 'The import that was admitted.';
COMMENT ON COLUMN generations.requester IS 'Who had asked for it.';
COMMENT ON COLUMN generations.reason IS 'Why, if something was said.';

CREATE VIEW revocations AS
SELECT
    seq, time, action, entry->>'digest' AS digest, entry->>'name' AS name, entry->>'reason' AS reason,
    entry->>'since' AS since, entry->>'instead' AS instead, bundle
FROM (
    SELECT seq, time, action, unnest(TRY_CAST(params->'entries' AS JSON[])) AS entry, params->>'bundle' AS bundle
    FROM events
    WHERE action = 'revocation.listed'
)
UNION ALL
SELECT
    seq, time, action, subject_digest, params->>'name', params->>'reason', params->>'since', params->>'instead',
    params->>'bundle'
FROM events
WHERE action = 'artefact.revoked';
COMMENT ON VIEW revocations IS 'What publishers revoked (revocation.listed), and what of it was here (artefact.revoked).';
COMMENT ON COLUMN revocations.seq IS 'The event.';
COMMENT ON COLUMN revocations.time IS 'When it was recorded, UTC.';
COMMENT ON COLUMN revocations.action IS 'revocation.listed or artefact.revoked.';
COMMENT ON COLUMN revocations.digest IS 'The artefact.';
COMMENT ON COLUMN revocations.name IS 'Its name.';
COMMENT ON COLUMN revocations.reason IS 'Why.';
COMMENT ON COLUMN revocations.since IS 'Since when.';
COMMENT ON COLUMN revocations.instead IS 'What to use instead.';
COMMENT ON COLUMN revocations.bundle IS 'The medium that said so.';

CREATE VIEW media_out AS
SELECT
    seq, started AS time, person, role, act AS what, outcome, outcome_seq, subject_digest AS subject, level, compartments,
    zones, result->'files' AS files, coalesce(result, asked) AS details
FROM acts
WHERE act IN (
    'request.grant', 'report.residency', 'report.receipt', 'audit.export', 'audit.result', 'audit.archive', 'audit.backup'
)
UNION ALL
SELECT
    seq, time, person, role, action, 'done', seq, subject_digest, level, compartments, zones, NULL, params
FROM events
WHERE action IN ('request.fetched', 'audit.checkpoint');
COMMENT ON VIEW media_out IS 'What left the site: inventories, reports, receipts, evidence, results, checkpoints, archives and backups.';
COMMENT ON COLUMN media_out.seq IS 'The event.';
COMMENT ON COLUMN media_out.time IS 'When it was recorded, UTC.';
COMMENT ON COLUMN media_out.person IS 'Who let or took it out.';
COMMENT ON COLUMN media_out.role IS 'The role acted in.';
COMMENT ON COLUMN media_out.what IS 'The act or action.';
COMMENT ON COLUMN media_out.outcome IS 'done, failed, cancelled, interrupted or open.';
COMMENT ON COLUMN media_out.outcome_seq IS 'Sequence number of the outcome.';
COMMENT ON COLUMN media_out.subject IS 'Digest of what it was about.';
COMMENT ON COLUMN media_out.level IS 'Level of its label.';
COMMENT ON COLUMN media_out.compartments IS 'Compartments of its label.';
COMMENT ON COLUMN media_out.zones IS 'Residency zones of its label.';
COMMENT ON COLUMN media_out.files IS 'Digests of the files by name.';
COMMENT ON COLUMN media_out.details IS 'All facts of the outcome.';
